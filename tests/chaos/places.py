"""Finds the place of requests whose acknowledgement did not say where they lie.

A batch that is sent again although the broker has it already (its answer was lost with the connection) is acknowledged
without an offset. A request like that is looked for by its id; the judge needs no place of a press.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.deployment import Deployment


def put_right(gate: Deployment) -> int:
    """Give each request without an offset the one of its record; return how many acknowledgements named none."""
    lost = [one for one in gate.history.requests if one.offset < 0]
    presses = sum(one.offset < 0 <= one.acknowledged_at for one in gate.history.presses)
    if not lost:
        return presses
    taken = {(one.partition, one.offset) for one in gate.history.requests}
    free: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for message in gate.read("withdrawal-request"):
        place = message.partition() or 0, message.offset() or 0
        if place not in taken:
            with suppress(ValueError, TypeError, LookupError):
                free[json.loads(message.value() or b"")["withdrawal_id"]].append((*place, message.timestamp()[1]))
    for one in lost:
        if free[one.withdrawal_id]:  # without a record, the judge finds no outcome
            one.partition, one.offset, one.append_ms = free[one.withdrawal_id].pop(0)
    return len(lost) + presses
