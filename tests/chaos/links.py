"""The links between workers and brokers: each place of a worker has one of its own to each broker."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.proxy import HOST, Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

END_SECONDS = 10


class Links:
    """The proxy process. `targets` are, for each broker, its ports for the places, in their order."""

    def __init__(self, targets: Sequence[Sequence[int]]) -> None:
        """Start it; it ends with this process, however this one ends."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", *(str(port) for ports in targets for port in ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        said = iter(map(int, self._answer().split()))
        self.ports = [[next(said) for _ in ports] for ports in targets]

    def bootstrap(self, place: int) -> str:
        """Return where the worker of that place finds its brokers."""
        return ",".join(f"{HOST}:{ports[place]}" for ports in self.ports)

    def change(self, place: int, broker: int, mode: Mode) -> None:
        """Let the link between these two do that from now on."""
        assert self._order(place, broker, mode) is mode

    def trap(self, place: int, broker: int, key: int, *, passes: bool) -> None:
        """Hold the link from the next request with this api key on; the request itself passes, or is kept as well."""
        self._order(place, broker, f"trap {key} {'pass' if passes else 'keep'}")

    def mode(self, place: int, broker: int) -> Mode:
        """Return what the link does."""
        return self._order(place, broker, "ask")

    def _order(self, place: int, broker: int, order: str) -> Mode:
        number = broker * len(self.ports[0]) + place
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{number} {order}\n")
            self._process.stdin.flush()
            answered, mode = self._answer().split()
        assert int(answered) == number
        return Mode(mode)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the proxy."""
        self._process.communicate(timeout=END_SECONDS)
