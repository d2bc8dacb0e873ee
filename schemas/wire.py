"""What every record has in common: JSON objects, UTF-8, ids as text, times as RFC 3339 in UTC with milliseconds.

Parsing is total: any bytes give a record or a `Fault`, never an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson

ACCOUNT_ID_MAX_CHARACTERS = 256
PRESS_ID_MAX_CHARACTERS = 128
WITHDRAWAL_ID_MAX_CHARACTERS = 128

# An overlong id is still answered to, up to here; past it the record goes to dead-letter only.
MAX_ANSWERED_CHARACTERS = 1024

# A decision embeds its request. Parsers differ in how deep they go (Jackson 1,000, orjson 1,024, Python's json about
# 990): a request that is legal here must not make a decision that the engine can't read.
MAX_NESTING = 100
_ORJSON_MAX_NESTING = 1024
_PROBE_OPEN = b"[" * (_ORJSON_MAX_NESTING - MAX_NESTING)
_PROBE_CLOSE = b"]" * (_ORJSON_MAX_NESTING - MAX_NESTING)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 9999-12-31: the last day that RFC 3339 can name. A time past it is written as this one.
MAX_TIME_MS = 253_402_300_799_999


class FaultReason(StrEnum):
    """Why a record is in `dead-letter`; the values of its `gate-reason` header."""

    UNREADABLE = "unreadable"
    NO_ACCOUNT = "no_account"
    NO_WITHDRAWAL_ID = "no_withdrawal_id"
    KEY_MISMATCH = "key_mismatch"
    INVALID_PRESS = "invalid_press"
    INVALID_REQUEST = "invalid_request"
    DUPLICATE_WITHDRAWAL = "duplicate_withdrawal"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a record: a reason of the fixed list and one sentence that repeats none of its content."""

    reason: FaultReason
    detail: str


def parse_object(value: bytes | None) -> dict[str, Any] | Fault:
    """Parse a record's value; of a repeated field the last counts, as in most JSON parsers."""
    if value is None:
        return Fault(FaultReason.UNREADABLE, "the record has no value (a tombstone)")
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return Fault(FaultReason.UNREADABLE, f"the value is not JSON: {error.msg} at character {error.pos}")
    if not isinstance(body, dict):
        return Fault(FaultReason.UNREADABLE, f"the value is a JSON {_json_type(body)}, not an object")
    return body


def nests_too_deep(value: bytes) -> bool:
    """Tell whether JSON text nests deeper than `MAX_NESTING`, without recursion of our own."""
    if value.count(b"[") + value.count(b"{") <= MAX_NESTING:
        return False
    try:
        orjson.loads(_PROBE_OPEN + value + _PROBE_CLOSE)
    except orjson.JSONDecodeError:
        return True
    return False


def text_fault(name: str, found: object, max_characters: int) -> str | None:
    """Say in one sentence why `found` is no id of 1 to `max_characters` characters; None when it is one."""
    if isinstance(found, str):
        if 1 <= len(found) <= max_characters:
            return None
        return f"{name} has {len(found)} characters, allowed are 1 to {max_characters}"
    if found is None:
        return f"{name} is missing"
    return f"{name} is a JSON {_json_type(found)}, not a string"


def as_text(found: object) -> str | None:
    """Return an id that was given as overlong text, or as a whole number; None when it can't be answered to."""
    if isinstance(found, str):
        return found if 1 <= len(found) <= MAX_ANSWERED_CHARACTERS else None
    # bool is an int in Python, and no id.
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return None


def account_of_key(key: bytes | None) -> str | None:
    """Return the account that a record's key names, None when it names none."""
    if not key:
        return None
    try:
        account_id = key.decode()
    except UnicodeDecodeError:
        return None
    return account_id if len(account_id) <= ACCOUNT_ID_MAX_CHARACTERS else None


def rfc3339(time_ms: int) -> str:
    """Write milliseconds since 1970 as `2026-11-22T09:00:01.250Z`."""
    moment = _EPOCH + timedelta(milliseconds=min(time_ms, MAX_TIME_MS))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Read a time with an offset as milliseconds since 1970; ValueError when it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        message = "the time has no offset from UTC"
        raise ValueError(message)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _json_type(value: object) -> str:
    names: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
