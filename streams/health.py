"""Can this worker decide now, and if not, why? Read by `/readyz`, set by whoever finds out."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)
CHECKS = ("kafka", "table", "barrier", "group", "append_time")


class Health:
    """The state of each check: None when it is fine, else one sentence. Thread-safe; changes are logged, once."""

    def __init__(self) -> None:
        """Start with nothing proven."""
        self._lock = threading.Lock()
        self._problems: dict[str, str | None] = dict.fromkeys(CHECKS)
        self._problems["kafka"] = "no broker has answered yet"
        self._problems["table"] = "the freeze table is not open yet"
        self._problems["group"] = "no partitions were assigned yet"

    def set(self, check: str, problem: str | None) -> None:
        """Say that a check is fine (None) or what is wrong."""
        with self._lock:
            before, self._problems[check] = self._problems[check], problem
        if (before is None) != (problem is None):
            if problem is None:
                log.info("%s: fine again", check, extra={"check": check})
            else:
                log.warning("%s: %s", check, problem, extra={"check": check})

    def distrust(self, topic: str) -> None:
        """Say that a record carried a time that no broker set: from here on nothing proves the order on that topic."""
        self.set("append_time", f"a record of {topic} has no broker append time; set message.timestamp.type, restart")

    @property
    def problems(self) -> dict[str, str | None]:
        """Each check with its problem."""
        with self._lock:
            return dict(self._problems)

    @property
    def ready(self) -> bool:
        """Whether every check is fine."""
        return not any(self.problems.values())
