"""A record that could not be served as it came: kept byte for byte in `dead-letter`, with why and where from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.wire import Fault

TOPIC = "dead-letter"
REASON_HEADER = "gate-reason"
DETAIL_HEADER = "gate-detail"
SOURCE_HEADER = "gate-source"

Headers = list[tuple[str, bytes | None]]


def dead_letter_headers(headers: Headers | None, fault: Fault, source: str) -> Headers:
    """Return the record's own headers followed by the gate's three; `source` is `<topic>:<partition>:<offset>`."""
    return [
        *(headers or []),
        (REASON_HEADER, fault.reason.encode()),
        (DETAIL_HEADER, fault.detail.encode()),
        (SOURCE_HEADER, source.encode()),
    ]
