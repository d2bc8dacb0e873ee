"""What became of a press, and of the freeze it made, as it stands in `freeze-status`."""

from __future__ import annotations

from enum import StrEnum

import orjson

from schemas.wire import rfc3339

TOPIC = "freeze-status"
# The reminder `ending` goes out this long before the end; a freeze that is shorter gets none.
REMINDER_MS = 3_600_000


class Status(StrEnum):
    """The cause of a status record."""

    FROZEN = "frozen"
    EXTENDED = "extended"
    UNCHANGED = "unchanged"
    ENDING = "ending"
    ENDED = "ended"


class Adjusted(StrEnum):
    """How the policy changed the length that was asked for."""

    DEFAULTED = "defaulted"
    RAISED = "raised"
    LOWERED = "lowered"


def encode_status(  # noqa: PLR0913  (the record's fields, each by name)
    *,
    account_id: str,
    status: Status,
    press_id: str,
    frozen_since_ms: int,
    frozen_until_ms: int,
    asked_seconds: int | None,
    applied_seconds: int,
    adjusted: Adjusted | None,
    at_ms: int,
) -> bytes:
    """Write a status; times are broker time in milliseconds, `at_ms` the moment from which the status is true."""
    return orjson.dumps(
        {
            "account_id": account_id,
            "status": status,
            "press_id": press_id,
            "frozen_since": rfc3339(frozen_since_ms),
            "frozen_until": rfc3339(frozen_until_ms),
            "asked_seconds": asked_seconds,
            "applied_seconds": applied_seconds,
            "adjusted": adjusted,
            "at": rfc3339(at_ms),
        }
    )
