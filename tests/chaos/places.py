"""Puts right where records lie whose acknowledgement did not say so.

A batch that is sent again although the broker has it already (its answer was lost with the connection) is acknowledged
without an offset, and the history then holds 0. Each record that is not at its place is looked for by its id.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.deployment import Deployment


def put_right(gate: Deployment) -> int:
    """Return how many acknowledgements named no place; such a press promises nothing that could be judged."""
    ids: dict[tuple[int, int], str] = {}
    for message in gate.read("withdrawal-request"):
        with suppress(ValueError, TypeError, LookupError):
            ids[message.partition() or 0, message.offset() or 0] = json.loads(message.value() or b"")["withdrawal_id"]
    lost = [one for one in gate.history.requests if ids.get((one.partition, one.offset)) != one.withdrawal_id]
    away = {id(one) for one in lost}
    taken = {(one.partition, one.offset) for one in gate.history.requests if id(one) not in away}
    free: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for (partition, offset), name in ids.items():
        if (partition, offset) not in taken:
            free[partition, name].append(offset)
    for one in lost:
        offsets = free[one.partition, one.withdrawal_id]
        one.offset = offsets.pop(0) if offsets else -1  # without one, the judge finds no outcome
    accounts = {(record.partition, record.offset): record.press.account_id for record in gate.history.press_records}
    unplaced = [
        press
        for press in gate.history.presses
        if press.offset == 0 and accounts.get((press.partition, 0)) != press.account_id
    ]
    for press in unplaced:
        press.acknowledged_at = -1.0
    return len(lost) + len(unplaced)
