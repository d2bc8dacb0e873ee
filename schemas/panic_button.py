"""A press of the panic button, as the upstream app publishes it to `panic-button`.

The button is never refused: whatever names an account freezes it, and what was wrong with the record is said in
`dead-letter` and `freeze-status`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from schemas.wire import (
    ACCOUNT_ID_MAX_CHARACTERS,
    PRESS_ID_MAX_CHARACTERS,
    Fault,
    FaultReason,
    account_of_key,
    as_text,
    parse_object,
    text_fault,
)

TOPIC = "panic-button"
# 2^53 - 1, the largest whole number that every JSON reader keeps exact; only what is reported is cut to it.
MAX_REPORTED_SECONDS = 9_007_199_254_740_991


class Press(NamedTuple):
    """An account to freeze.

    `asked_seconds` is None when the publisher named no whole number: the policy's default then applies. `fault` says
    what else is wrong with the record, which then goes to `dead-letter` too.
    """

    account_id: str
    press_id: str
    asked_seconds: int | None
    fault: Fault | None = None


def parse_press(key: bytes | None, value: bytes | None, partition: int, offset: int) -> Press | Fault:
    """Read a record of `panic-button`; a `Fault` only when no account can be told at all."""
    own_id = f"{TOPIC}:{partition}:{offset}"
    body = parse_object(value)
    if isinstance(body, Fault):
        return _by_key(key, own_id, body)
    account_id: Any = body.get("account_id")
    wrong = text_fault("account_id", account_id, ACCOUNT_ID_MAX_CHARACTERS)
    if wrong is not None:
        fault = Fault(FaultReason.NO_ACCOUNT, wrong)
        by_key = _by_key(key, own_id, fault)
        text = as_text(account_id)
        if isinstance(by_key, Fault) and text is not None and len(text) <= ACCOUNT_ID_MAX_CHARACTERS:
            return Press(text, own_id, None, fault)
        return by_key
    press_id, fault_of_id = _press_id(body, own_id)
    fault_of_key = None
    if key and key != account_id.encode():
        fault_of_key = Fault(FaultReason.KEY_MISMATCH, "the key does not name the account that the body names")
    return Press(account_id, press_id, whole_seconds(body.get("freeze_seconds")), fault_of_key or fault_of_id)


def encode_press(account_id: str, press_id: str, freeze_seconds: int | None) -> bytes:
    """Write a press as our own publisher does; `freeze_seconds` None leaves the length to the policy."""
    body: dict[str, Any] = {"account_id": account_id, "press_id": press_id}
    if freeze_seconds is not None:
        body["freeze_seconds"] = freeze_seconds
    return orjson.dumps(body)


def whole_seconds(found: object) -> int | None:
    """Return a whole number of seconds, None for anything else; 90.0 is whole, as in JSON Schema."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    if isinstance(found, float) and not found.is_integer():
        return None
    return max(-MAX_REPORTED_SECONDS, min(int(found), MAX_REPORTED_SECONDS))


def _by_key(key: bytes | None, own_id: str, fault: Fault) -> Press | Fault:
    account_id = account_of_key(key)
    return fault if account_id is None else Press(account_id, own_id, None, fault)


def _press_id(body: dict[str, Any], own_id: str) -> tuple[str, Fault | None]:
    press_id = body.get("press_id")
    if press_id is None:
        return own_id, None
    wrong = text_fault("press_id", press_id, PRESS_ID_MAX_CHARACTERS)
    return (press_id, None) if wrong is None else (own_id, Fault(FaultReason.INVALID_PRESS, wrong))
