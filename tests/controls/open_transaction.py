"""No safeguard is left out here: the gate that dies in its first transaction, where DIES is set, its records written.

Nobody ends that transaction for as long as a test takes, unless who takes over does.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from streams import kafka
from streams.cli import main
from streams.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.broker_clock import BrokerClock
    from streams.lane import Record

PATIENCE_SECONDS = 10
kafka.TRANSACTION_TIMEOUT_MS = 300_000
# The shortest session that a broker allows by default: so long the group waits for who is dead.
kafka.SESSION_TIMEOUT_MS = 6_000
_produce = Lane._produce


def _produce_and_die(self: Lane, records: Sequence[Record], clock: BrokerClock) -> None:
    _produce(self, records, clock)
    if "DIES" in os.environ and records:
        self._producer.flush(PATIENCE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)


Lane._produce = _produce_and_die  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
