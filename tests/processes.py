"""Processes of the product: a worker with its own data folder, a command that runs; waiting for what has to come."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

GATE = (sys.executable, "-m", "streams")
PATIENCE_SECONDS = 60.0


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:  # noqa: ANN401  (whatever the condition gives)
    """Return the condition's first true value; fail saying what did not come."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}"
            raise AssertionError(message)
        pause.wait(0.05)


def end_with_everything_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: what its `with` statements started ends, too."""

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Worker:
    """A worker process with its own data folder and HTTP port."""

    def __init__(self, environment: dict[str, str], folder: Path, module: str) -> None:
        """Start it; `module` is run with -m, the product's own command or a control that breaks it."""
        self.port = free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"worker-{self.port}.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "worker"],
                env={**environment, "GATE_DATA_DIR": str(folder / "data"), "GATE_HTTP": f"127.0.0.1:{self.port}"},
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parent.parent,
                start_new_session=True,
            )

    def get(self, path: str) -> tuple[int, str]:
        """Ask over HTTP; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, series: str) -> float:
        """Return the value of a series as it stands on /metrics, 0 when it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0

    def ready(self) -> bool:
        """Tell whether it can decide; fail when it has ended."""
        if self.process.poll() is not None:
            message = f"the worker ended with {self.process.returncode}:\n{self.log.read_text()}"
            raise AssertionError(message)
        return self.get("/readyz")[0] == 200

    def wait_ready(self) -> Self:
        """Wait until it can decide."""
        try:
            wait_for(self.ready, "a worker to get ready")
        except AssertionError as error:
            message = f"{error}; its log:\n{self.log.read_text()}"
            raise AssertionError(message) from None
        return self

    def kill(self) -> None:
        """Kill it as a power cut would: no handler runs."""
        self.process.kill()
        self.process.wait(10)

    def pause(self) -> None:
        """Stop the process where it stands."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """End it as a supervisor does and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Running:
    """A command that runs while the test goes on, in a pipe or in a terminal; a thread gathers what it says."""

    def __init__(self, gate: Deployment, *command: str, terminal: bool = False, **environment: str) -> None:
        """Start it."""
        self._reads, writes = pty.openpty() if terminal else os.pipe()
        self._said = b""
        self.process = subprocess.Popen(
            command,
            env={**gate.environment, "TERM": "xterm-256color", "COLUMNS": "200", **environment},
            stdin=subprocess.DEVNULL,
            stdout=writes,
            stderr=writes if terminal else subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
        )
        os.close(writes)
        self._thread = threading.Thread(target=self._gather)
        self._thread.start()

    def _gather(self) -> None:
        with suppress(OSError):  # so a terminal tells that its last process has gone
            while said := os.read(self._reads, 65_536):
                self._said += said

    def close(self) -> None:
        """End it and what it started, whatever they do."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self._thread.join()
        os.close(self._reads)

    @property
    def said(self) -> str:
        """What it has written up to now."""
        return self._said.decode(errors="replace")

    def records(self) -> list[dict[str, Any]]:
        """Return the JSON lines that are complete."""
        return [json.loads(line) for line in self.said.split("\n")[:-1]]

    def end(self, *signals: signal.Signals) -> tuple[int, str]:
        """Signal it, wait for its end and return exit code and what a pipe got on stderr."""
        for each in signals:
            self.process.send_signal(each)
        _, complaints = self.process.communicate(timeout=20)
        self._thread.join(5)
        return self.process.returncode, (complaints or b"").decode()
