"""No safeguard is left out here: the gate that dies before its first commit, where DIES is set, its offset sent.

The group's coordinator then holds back the offset committed before, until somebody ends that transaction.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from confluent_kafka import Producer

from streams import kafka
from streams.cli import main

# The shortest session that a broker allows by default: so long the group waits for who is dead.
kafka.SESSION_TIMEOUT_MS = 6_000


class _Dying(Producer):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._decides = "withdrawal-request" in options.get("transactional.id", "")

    def commit_transaction(self, *limit: Any) -> None:
        if self._decides and "DIES" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        super().commit_transaction(*limit)


vars(kafka)["Producer"] = _Dying

if __name__ == "__main__":
    main()
