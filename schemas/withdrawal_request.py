"""A withdrawal that somebody asks for, as the wallet service publishes it to `withdrawal-request`."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from schemas.wire import (
    ACCOUNT_ID_MAX_CHARACTERS,
    WITHDRAWAL_ID_MAX_CHARACTERS,
    Fault,
    FaultReason,
    as_text,
    nests_too_deep,
    parse_object,
    text_fault,
)

TOPIC = "withdrawal-request"


class WithdrawalRequest(NamedTuple):
    """The two ids that a decision answers to.

    `wrong` is one sentence when the record breaks the contract although its ids are readable: it is then rejected.
    `embeddable` is False when the value must not be repeated inside a decision.
    """

    withdrawal_id: str
    account_id: str
    wrong: str | None = None
    embeddable: bool = True


def parse_request(key: bytes | None, value: bytes | None) -> WithdrawalRequest | Fault:
    """Read a record of `withdrawal-request`; a `Fault` when there is no id to answer to."""
    body = parse_object(value)
    if isinstance(body, Fault):
        return body
    withdrawal_id: Any = body.get("withdrawal_id")
    account_id: Any = body.get("account_id")
    wrong = text_fault("withdrawal_id", withdrawal_id, WITHDRAWAL_ID_MAX_CHARACTERS)
    if wrong is not None:
        withdrawal_id = as_text(withdrawal_id)
        if withdrawal_id is None:
            return Fault(FaultReason.NO_WITHDRAWAL_ID, wrong)
    wrong_account = text_fault("account_id", account_id, ACCOUNT_ID_MAX_CHARACTERS)
    if wrong_account is not None:
        account_id = as_text(account_id)
        if account_id is None:
            return Fault(FaultReason.NO_ACCOUNT, wrong_account)
        wrong = wrong or wrong_account
    if key and key != account_id.encode():
        wrong = wrong or "the key does not name the account that the body names"
    # parse_object has found an object, so there is a value.
    if value is not None and nests_too_deep(value):
        return WithdrawalRequest(withdrawal_id, account_id, wrong or "the value nests too deep", embeddable=False)
    return WithdrawalRequest(withdrawal_id, account_id, wrong)


def encode_request(withdrawal_id: str, account_id: str, asset: str, amount: str, requested_at: str) -> bytes:
    """Write a request as our own publisher does; the amount is text, for money is never a float."""
    return orjson.dumps(
        {
            "withdrawal_id": withdrawal_id,
            "account_id": account_id,
            "kind": "chain",
            "asset": asset,
            "amount": amount,
            "requested_at": requested_at,
        }
    )
