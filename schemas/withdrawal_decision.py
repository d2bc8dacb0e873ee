"""What the gate says of a withdrawal, as it stands in `withdrawal-decision`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

import orjson

from schemas.wire import MAX_ANSWERED_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.dead_letter import Headers

TOPIC = "withdrawal-decision"
# Where a gate in shadow mode puts its decisions. They decide nothing, and each says so itself.
SHADOW_TOPIC = f"{TOPIC}-shadow"
TRACE_HEADER = "traceparent"
# W3C Trace Context, version 00 and what later ones have in common with it. Anything else is not carried on: a decision
# must not grow beyond what its topic takes by what a publisher calls a trace.
_TRACE_FORM = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# What a decision's record holds beside ids, `freeze_view` and request: the other fields (a press id of 128 characters,
# each escaped, is the largest), both headers, the framing. About 1,500 bytes, rounded up generously.
OVERHEAD_BYTES = 4_096
# `9999:`, 18 digits and a comma.
FREEZE_VIEW_BYTES_A_PARTITION = 24
# A control character is written as \u0001; two quotation marks.
_MAX_ID_BYTES = 6 * MAX_ANSWERED_CHARACTERS + 2
# 18 digits: more records than a partition will ever hold, and always within the 64 bits of Kafka's offsets.
_OFFSET = re.compile(r"[0-9]{1,18}")


class Verdict(StrEnum):
    """What the withdrawal engine is to do."""

    APPROVED = "approved"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a withdrawal was rejected, the first that applies."""

    INVALID_REQUEST = "invalid_request"
    ACCOUNT_FROZEN = "account_frozen"


def encode_decision(  # noqa: PLR0913  (the record's fields, each by name)
    *,
    withdrawal_id: str,
    account_id: str,
    reason: Reason | None,
    frozen_until: str | None,
    press_id: str | None,
    decided_at: str,
    valid_until: str | None,
    source: str,
    freeze_view: str,
    request: bytes | None,
    shadow: bool = False,
) -> bytes:
    """Write a decision; `request` is the record's value as it came, None when it can't be repeated.

    Times are RFC 3339. `source` is `withdrawal-request:<partition>:<offset>`, `freeze_view` is
    `<partition>:<end offset>` of every `panic-button` partition, joined by commas. With `shadow` the mark comes first,
    so that whoever looks at the record sees it, however long it is.
    """
    fields = {
        "withdrawal_id": withdrawal_id,
        "account_id": account_id,
        "decision": "approved" if reason is None else "rejected",
        "reason": reason,
        "frozen_until": frozen_until,
        "press_id": press_id,
        "decided_at": decided_at,
        "valid_until": valid_until,
        "source": source,
        "freeze_view": freeze_view,
        "request": None if request is None else orjson.Fragment(request),
    }
    return orjson.dumps({"shadow": True, **fields} if shadow else fields)


def approval_form(
    *, decided_at: str, valid_until: str, partition: int, freeze_view: str, shadow: bool = False
) -> bytes:
    """Return what all approvals of a partition's batch share, with four blanks to be filled in by `%`.

    They are: withdrawal id and account id, each as JSON, the offset of the request, and its value. Filling the form
    in gives the bytes of `encode_decision` and takes a fraction of its time.
    """
    form = encode_decision(
        withdrawal_id="%w",
        account_id="%a",
        reason=None,
        frozen_until=None,
        press_id=None,
        decided_at=decided_at,
        valid_until=valid_until,
        source=f"withdrawal-request:{partition}:%o",
        freeze_view=freeze_view,
        request=b"%r",
        shadow=shadow,
    )
    return form.replace(b'"%w"', b"%b").replace(b'"%a"', b"%b").replace(b":%o", b":%d").replace(b"%r", b"%b")


def bytes_with_request(withdrawal_id: str, account_id: str, value: bytes, panic_partitions: int) -> int:
    """Return a bound of a decision's record, in bytes, that repeats the request's value; the account id is its key."""
    ids = len(orjson.dumps(withdrawal_id)) + 2 * len(orjson.dumps(account_id))
    return len(value) + ids + FREEZE_VIEW_BYTES_A_PARTITION * panic_partitions + OVERHEAD_BYTES


def bytes_without_request(panic_partitions: int) -> int:
    """Return a bound of a decision's record, in bytes, that repeats no request, whatever its ids are."""
    return 3 * _MAX_ID_BYTES + FREEZE_VIEW_BYTES_A_PARTITION * panic_partitions + OVERHEAD_BYTES


def trace_of(headers: Headers) -> Headers | None:
    """Return the header that a decision takes over from its request: the first trace, None without one."""
    value = next((value for name, value in headers if name == TRACE_HEADER), None)
    return [(TRACE_HEADER, value)] if value is not None and _TRACE_FORM.fullmatch(value) else None


def write_freeze_view(applied: Mapping[int, int]) -> str:
    """Write the end offsets that were applied, partition by partition: `0:41,1:7`."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(applied.items()))


def source_offset(source: object, topic: str, partition: int) -> int | None:
    """Return the offset in a `source` of that topic and partition, None when it names another place."""
    if not isinstance(source, str):
        return None
    found_topic, _, place = source.partition(":")
    found_partition, _, offset = place.partition(":")
    if found_topic != topic or found_partition != str(partition) or _OFFSET.fullmatch(offset) is None:
        return None
    return int(offset)
