"""The gate's job as the Python peers do it: a press freezes, a request is decided. Dictionaries in, dictionaries out.

Shorter than the gate's on purpose: nothing is validated and no `freeze_view` is written, for none of the peers knows
what it had applied. Both are in the peers' favour.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import Any

from schemas import panic_button, withdrawal_request
from schemas.wire import rfc3339
from streams.rule import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS

BOOTSTRAP = os.environ.get("GATE_KAFKA_BOOTSTRAP", "")
GROUP = os.environ.get("GATE_GROUP", "")
DATA_DIR = os.environ.get("GATE_DATA_DIR", "")
PRESSES, REQUESTS = (
    os.environ.get("GATE_TOPIC_PREFIX", "") + name for name in (panic_button.TOPIC, withdrawal_request.TOPIC)
)
DECISIONS = os.environ.get("PEER_DECISION_TOPIC", "")
APPROVAL_MS = 30_000
# As the gate has it: who is started again after a kill -9 soon gets its partitions back.
SESSION_MS = 10_000


@lru_cache(1024)
def text_of(time_ms: int) -> str:
    """Write a time; thousands of decisions share a millisecond."""
    return rfc3339(time_ms)


def freeze(held: list[Any] | None, press: dict[str, Any], append_ms: int, place: str) -> list[Any]:
    """Return the account's freeze after a press: `[frozen_until_ms, press_id]`, the later of the two."""
    asked = press.get("freeze_seconds")
    seconds = DEFAULT_SECONDS if asked is None else min(max(asked, MIN_SECONDS), MAX_SECONDS)
    new = [append_ms + seconds * 1000, press.get("press_id", f"{panic_button.TOPIC}:{place}")]
    return new if held is None else max(held, new)


def decide(held: list[Any] | None, request: dict[str, Any], append_ms: int, place: str) -> dict[str, Any]:
    """Return the decision on a request of an account with that freeze."""
    frozen = held is not None and held[0] > append_ms
    now_ms = time.time_ns() // 1_000_000
    return {
        "withdrawal_id": request["withdrawal_id"],
        "account_id": request["account_id"],
        "decision": "rejected" if frozen else "approved",
        "reason": "account_frozen" if frozen else None,
        "frozen_until": text_of(held[0]) if held is not None and frozen else None,
        "press_id": held[1] if held is not None and frozen else None,
        "decided_at": text_of(now_ms),
        "valid_until": None if frozen else text_of(now_ms + APPROVAL_MS),
        "source": f"{withdrawal_request.TOPIC}:{place}",
        "freeze_view": "",
        "request": request,
    }
