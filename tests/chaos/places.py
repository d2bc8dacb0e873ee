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
    from collections.abc import Callable

    from streams.judge import RequestSent
    from tests.deployment import Deployment


def put_right(gate: Deployment, taken: Callable[[int, int], bool]) -> int:
    """Give each request without an offset the one of its record; return how many acknowledgements named none.

    `taken` tells whether a request is known to lie at a partition and offset.
    """
    lost: defaultdict[str, list[RequestSent]] = defaultdict(list)
    for one in gate.history.requests:
        if one.offset < 0:
            lost[one.withdrawal_id].append(one)
    unplaced = sum(map(len, lost.values()))
    for message in gate.records("withdrawal-request") if lost else ():
        partition, offset = message.partition() or 0, message.offset() or 0
        if taken(partition, offset):
            continue
        with suppress(ValueError, TypeError, LookupError):  # without a record, the judge finds no outcome
            one = lost[json.loads(message.value() or b"")["withdrawal_id"]].pop(0)
            one.partition, one.offset, one.append_ms = partition, offset, message.timestamp()[1]
    return unplaced + sum(one.offset < 0 <= one.acknowledged_at for one in gate.history.presses)
