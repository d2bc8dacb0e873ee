"""No safeguard is left out here: the gate whose first commit of decisions never comes back, whatever its time limit.

librdkafka does so now and then while brokers are restarted one after another; the limit is shortened to 2 s.
"""

from __future__ import annotations

import threading
from typing import Any

from confluent_kafka import Producer

from streams import exactly_once, kafka
from streams.cli import main

exactly_once.COMMIT_LIMIT_SECONDS = 2.0


class _Stuck(Producer):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._decides = "withdrawal-request" in options.get("transactional.id", "")

    def commit_transaction(self, *limit: Any) -> None:
        if self._decides:
            threading.Event().wait()
        super().commit_transaction(*limit)


vars(kafka)["Producer"] = _Stuck

if __name__ == "__main__":
    main()
