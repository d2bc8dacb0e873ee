"""What the demo stands on: somebody who tells, a broker, topics, worker processes. Whatever it starts ends with it."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import KafkaException
from rich.console import Console
from rich.text import Text

from schemas.topics import TOPICS, WITHDRAWAL_REQUEST
from streams.checks import inspect_topics
from streams.dev_broker import DIE_WITH_PARENT, HOST, DevBroker, DevBrokerError, PortInUseError, kafka_classpath
from streams.errors import GateError, KafkaUnreachable, TopicFaults
from streams.kafka import admin, ask, reach
from streams.topics_admin import create_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

Found = TypeVar("Found")

PROGRESS_SECONDS = 2.0
LOOK_SECONDS = 0.02
HTTP_SECONDS = 5.0
TOPICS_SECONDS = 20.0
READY_SECONDS = 60.0
# A worker drains for at most 9 s (app.py); after this it is killed.
END_SECONDS = 12.0
TRACES_SECONDS = 5.0
INDENT = " " * 10
LOG_LINES = 8
PARTITION_LABEL = re.compile(r'partition="(\d+)"')


class TooLate(GateError):  # noqa: N818  (what happened, as in errors.py)
    """Something did not happen in its time limit; exit code 1. The message says what, and what the workers said."""


class Narrator:
    """Tells what happens on stdout, a line at a time, with the seconds since it began; colours on a terminal only."""

    def __init__(self) -> None:
        """Begin to count the seconds."""
        self._terminal = sys.stdout.isatty()
        # Told, not guessed: an environment that forces colours must not put control characters into a pipe.
        self._console = Console(file=sys.stdout, force_terminal=self._terminal, markup=False, highlight=False)
        self._begun_at = time.monotonic()

    def say(self, text: str, style: str = "", at: float | None = None) -> None:
        """Tell something that happened now, or at another time of the monotonic clock."""
        seconds = (time.monotonic() if at is None else at) - self._begun_at
        self.line(f"{seconds:6.1f} s  {text}", style, INDENT)

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self.line("")
        self.line(title, "bold")

    def line(self, text: str, style: str = "", indent: str = "") -> None:
        """Print a line, folded on a terminal; end the process when nobody reads any more."""
        width = max(self._console.width, 40) if self._terminal else sys.maxsize
        for folded in textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]:
            # rich notices a closed pipe, ends the thread that printed, and is quiet from then on.
            if self._console.quiet:
                sys.exit(GateError.exit_code)
            self._console.print(Text(folded, style), soft_wrap=True)

    def command(self, text: str) -> None:
        """Print a command to be copied: never folded."""
        self._console.print(Text(f"    {text}", "cyan"), soft_wrap=True)

    @contextlib.contextmanager
    def busy(self, tell: Callable[[], str]) -> Iterator[None]:
        """Tell every two seconds how it stands, while the block inside takes its time."""
        done = threading.Event()

        def repeat() -> None:
            while not done.wait(PROGRESS_SECONDS):
                self.say(tell(), "dim")

        thread = threading.Thread(target=repeat, daemon=True, name="demo-progress")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(PROGRESS_SECONDS)

    def wait_for(
        self, what: str, look: Callable[[], Found | None], limit_seconds: float, tell: Callable[[], str] | None = None
    ) -> Found:
        """Return the first thing that `look` finds; raise TooLate when that takes longer than the limit."""
        begun_at = time.monotonic()

        def waiting() -> str:
            return f"waiting for {what}, {time.monotonic() - begun_at:.0f} s so far"

        with self.busy(tell or waiting):
            while not (found := look()):
                if time.monotonic() - begun_at > limit_seconds:
                    message = f"waited {limit_seconds:g} s in vain for {what}"
                    raise TooLate(message)
                time.sleep(LOOK_SECONDS)  # between two looks; nothing here could wake us earlier
        return found


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """End the block inside on Ctrl-C, SIGTERM and a closed terminal; from its end on, only the cleaning up counts."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # Set even for SIGINT: a shell starts its background jobs with SIGINT ignored.
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def start_broker(narrator: Narrator, broker: DevBroker) -> None:
    """Start the development broker; PortInUseError is the caller's, what else goes wrong is KafkaUnreachable."""
    try:
        kafka_classpath()  # the first time on a machine it fetches Kafka, and tells how far it is itself
        with narrator.busy(lambda: "Apache Kafka is starting"):
            broker.start()
    except PortInUseError:
        raise
    except DevBrokerError as error:
        raise KafkaUnreachable(str(error)) from error


def reach_kafka(narrator: Narrator, settings: Settings) -> AdminClient:
    """Return a client that has had an answer; raise KafkaUnreachable."""
    with narrator.busy(lambda: f"waiting for Kafka at {settings.kafka_bootstrap}"):
        return reach(settings)


def make_topics(narrator: Narrator, settings: Settings) -> None:
    """Make the topics as `topics create` does, but silently, and wait until every broker knows them."""
    client = reach_kafka(narrator, settings)
    with narrator.busy(lambda: "the topics are being made"):
        with contextlib.redirect_stdout(io.StringIO()):
            create_topics(settings, None, None)
        deadline = time.monotonic() + TOPICS_SECONDS
        while faults := ask(lambda: inspect_topics(client, settings))[1]:
            if time.monotonic() > deadline:
                raise TopicFaults(faults)
            time.sleep(LOOK_SECONDS)  # between two looks; topics that were just made are not known everywhere at once


def remove_traces(settings: Settings) -> None:
    """Take topics and groups off a broker that is not ours; what can't be removed stays, named after the demo."""
    client = admin(settings)
    topics = [settings.topic(topic.name) for topic in TOPICS]
    groups = [settings.group, f"{settings.group}-announce"]
    futures = [
        *client.delete_topics(topics, request_timeout=TRACES_SECONDS).values(),
        *client.delete_consumer_groups(groups, request_timeout=TRACES_SECONDS).values(),
    ]
    for future in futures:
        with contextlib.suppress(KafkaException):
            future.result()


class WorkerProcess:
    """`withdrawal-gate worker` as a process with its own data folder, HTTP port and log file."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        """Start it; the environment names GATE_DATA_DIR and GATE_HTTP."""
        self.name = name
        self.log = log
        self._environment = environment
        host, _, port = environment["GATE_HTTP"].rpartition(":")
        self._address = host.strip("[]"), int(port)
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "streams", "worker"]
        if sys.platform == "linux":  # the kernel then ends it with us, even when we are killed
            command = [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command]
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  (our own command, no shell)
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for the demo, which then ends its workers
            )

    def restart(self) -> None:
        """Start it again after it ended."""
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._process.poll()

    def ready(self) -> bool:
        """Tell whether it can decide; raise TooLate when it has ended instead."""
        if self.ended() is not None:
            message = f"worker {self.name} ended with exit code {self.ended()} before it was ready"
            raise TooLate(message)
        return self._get("/readyz")[0] == http.HTTPStatus.OK

    def request_partitions(self) -> set[int]:
        """Return the partitions of `withdrawal-request` that it decides, as its metrics show them."""
        topic = f'topic="{WITHDRAWAL_REQUEST.name}"'
        found: set[int] = set()
        for line in self._get("/metrics")[1].splitlines():
            partition = PARTITION_LABEL.search(line)
            if line.startswith("gate_consumer_lag_records{") and topic in line and partition is not None:
                found.add(int(partition[1]))
        return found

    def _get(self, path: str) -> tuple[int, str]:
        """Ask over HTTP; status 0 when nobody answers."""
        # Not urllib: it would ask a proxy that the environment names.
        connection = http.client.HTTPConnection(*self._address, timeout=HTTP_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a power cut would: no handler runs."""
        self._process.kill()
        self._process.wait()

    def log_tail(self) -> str:
        """Return the last lines that it wrote since it was last started."""
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        return "\n".join(text.splitlines()[-LOG_LINES:])

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self.ended() is None:
            self._process.terminate()

    def end_by(self, deadline: float) -> None:
        """Wait for its end, and kill it at the deadline."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()


def end_workers(narrator: Narrator, workers: Sequence[WorkerProcess]) -> None:
    """End every worker that runs, all at the same time."""
    deadline = time.monotonic() + END_SECONDS
    for worker in workers:
        worker.ask_to_end()
    with narrator.busy(lambda: "the workers are ending"):
        for worker in workers:
            worker.end_by(deadline)


def stop_broker(narrator: Narrator, broker: DevBroker) -> None:
    """End a broker in order, so that its data can be used again."""
    with narrator.busy(lambda: "Apache Kafka is ending"):
        broker.stop()
