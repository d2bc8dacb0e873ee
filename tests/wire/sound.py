"""What every record must come to, whatever it holds: a sound record that others can read, or a fault."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from schemas.panic_button import MAX_REPORTED_SECONDS, Press, parse_press
from schemas.wire import (
    ACCOUNT_ID_MAX_CHARACTERS,
    MAX_ANSWERED_CHARACTERS,
    PRESS_ID_MAX_CHARACTERS,
    WITHDRAWAL_ID_MAX_CHARACTERS,
    Fault,
    FaultReason,
    rfc3339,
)
from schemas.withdrawal_decision import Reason, approval_form, encode_decision
from schemas.withdrawal_request import WithdrawalRequest, parse_request

if TYPE_CHECKING:
    from collections.abc import Callable

# One for all, as in a batch of the gate.
APPROVAL = approval_form(decided_at=rfc3339(0), valid_until=rfc3339(30_000), partition=3, freeze_view="0:41")


def check_press(key: bytes | None, value: bytes | None) -> None:
    """Fail unless the bytes give a sound press or a fault."""
    press = parse_press(key, value, 3, 1042)
    if isinstance(press, Press):
        assert 1 <= len(press.account_id) <= ACCOUNT_ID_MAX_CHARACTERS
        assert 1 <= len(press.press_id) <= PRESS_ID_MAX_CHARACTERS
        assert press.asked_seconds is None or abs(press.asked_seconds) <= MAX_REPORTED_SECONDS
        assert type(press.asked_seconds) in {int, type(None)}
        fault = press.fault
    else:
        fault = press
    check_fault(fault)


def check_request(key: bytes | None, value: bytes | None) -> None:
    """Fail unless the bytes give a sound request, whose decision others can read, or a fault."""
    request = parse_request(key, value)
    if isinstance(request, Fault):
        check_fault(request)
        return
    assert 1 <= len(request.withdrawal_id) <= MAX_ANSWERED_CHARACTERS
    assert 1 <= len(request.account_id) <= MAX_ANSWERED_CHARACTERS
    if request.wrong is None:
        assert len(request.withdrawal_id) <= WITHDRAWAL_ID_MAX_CHARACTERS
        assert len(request.account_id) <= ACCOUNT_ID_MAX_CHARACTERS
    assert request.embeddable or request.wrong
    check_decision(request, value if request.embeddable else None)


def check_fault(fault: Fault | None) -> None:
    """Fail unless the detail is one line of moderate length that a header can hold."""
    if fault is not None:
        assert fault.reason in FaultReason
        assert fault.detail
        assert len(fault.detail.encode()) < 300
        assert fault.detail.isprintable()


def check_decision(request: WithdrawalRequest, value: bytes | None) -> None:
    """Fail unless two JSON parsers read the decision, each with the request as it reads the request itself."""
    decision = encode_decision(
        withdrawal_id=request.withdrawal_id,
        account_id=request.account_id,
        reason=None if request.wrong is None else Reason.INVALID_REQUEST,
        frozen_until=None,
        press_id=None,
        decided_at=rfc3339(0),
        valid_until=rfc3339(30_000) if request.wrong is None else None,
        source="withdrawal-request:3:1042",
        freeze_view="0:41",
        request=value,
    )
    if request.wrong is None:
        ids = orjson.dumps(request.withdrawal_id), orjson.dumps(request.account_id)
        assert decision == APPROVAL % (*ids, 1042, value)
    readers: tuple[Callable[[bytes], Any], ...] = (orjson.loads, json.loads)
    for loads in readers:
        read: dict[str, Any] = loads(decision)
        asked: dict[str, Any] | None = None if value is None else loads(value)
        assert read["withdrawal_id"] == request.withdrawal_id
        assert read["account_id"] == request.account_id
        assert read["decision"] == ("approved" if request.wrong is None else "rejected")
        assert read["request"] == asked
        if request.wrong is None:
            # No reader takes what is approved for another withdrawal, or another account's.
            assert asked is not None
            assert (asked["withdrawal_id"], asked["account_id"]) == (request.withdrawal_id, request.account_id)
    if value is not None:
        assert value in decision
