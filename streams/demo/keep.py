"""`withdrawal-gate demo --keep` (`make up`): a broker and a worker that stay until Ctrl-C, to try things by hand."""

from __future__ import annotations

import os
import shlex
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from streams.demo.stage import (
    READY_SECONDS,
    Narrator,
    TooLate,
    WorkerProcess,
    end_workers,
    interruptible,
    make_topics,
    start_broker,
    stop_broker,
)
from streams.dev_broker import HOST, DevBroker, PortInUseError
from streams.errors import EXIT_FINE, GateError, KafkaUnreachable, PromiseAtRisk, SettingsError
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path("gate-data")
KAFKA_PORT = 9092
HTTP_PORT = 8080
# How many ports after the usual one are tried.
PORTS = 20
ACCOUNT = "alice"
LOOK_SECONDS = 0.5
RESTART_SECONDS = 2.0
# A worker that ends with one of these says what an operator has to do; another start would end the same way.
FINAL_EXIT_CODES = frozenset({SettingsError.exit_code, PromiseAtRisk.exit_code})


def keep_running() -> int:
    """Start what is needed, say how to use it, keep it running until Ctrl-C; return the exit code."""
    narrator = Narrator()
    try:
        with ExitStack() as stack, interruptible():
            broker = None
            # Everything else that the environment sets counts: the commands in the second terminal read it too.
            environment = dict(os.environ)
            if not os.environ.get("GATE_KAFKA_BOOTSTRAP"):
                broker = _broker(narrator, stack)
                environment["GATE_KAFKA_BOOTSTRAP"] = broker.bootstrap
            make_topics(narrator, Settings.from_environment(environment))
            worker = _worker(narrator, stack, environment)
            _tell_how(narrator, environment, worker, broker)
            _watch_over(narrator, worker, _ended_event(broker))
    except KeyboardInterrupt:
        narrator.line("")
        narrator.say(f"everything is ended; what was stored stays in ./{FOLDER}")
    return EXIT_FINE


def _broker(narrator: Narrator, stack: ExitStack) -> DevBroker:
    """Start a broker on the usual port, or on the next that is free."""
    for port in range(KAFKA_PORT, KAFKA_PORT + PORTS):
        broker = DevBroker(FOLDER / "kafka", port)
        stack.callback(stop_broker, narrator, broker)
        try:
            start_broker(narrator, broker)
        except PortInUseError:
            narrator.say(f"port {port} is in use, so Kafka takes another", "yellow")
        else:
            narrator.say(f"Apache Kafka runs at {broker.bootstrap}")
            return broker
    message = f"no port from {KAFKA_PORT} to {KAFKA_PORT + PORTS - 1} is free for Kafka"
    raise KafkaUnreachable(message)


def _worker(narrator: Narrator, stack: ExitStack, environment: dict[str, str]) -> WorkerProcess:
    """Start a worker and wait until it is ready."""
    environment["GATE_DATA_DIR"] = environment.get("GATE_DATA_DIR") or str(FOLDER / "worker")
    if not environment.get("GATE_HTTP"):
        port = next(filter(_is_free, range(HTTP_PORT, HTTP_PORT + PORTS)), HTTP_PORT)
        environment["GATE_HTTP"] = f"{HOST}:{port}"
        if port != HTTP_PORT:
            narrator.say(f"port {HTTP_PORT} is in use, so the worker's HTTP takes {port}", "yellow")
    workers: list[WorkerProcess] = []
    stack.callback(end_workers, narrator, workers)
    workers.append(WorkerProcess("gate", environment, FOLDER / "worker.log"))
    _wait_ready(narrator, workers[0])
    return workers[0]


def _wait_ready(narrator: Narrator, worker: WorkerProcess) -> None:
    try:
        narrator.wait_for("the worker to be ready", worker.ready, READY_SECONDS)
    except TooLate as late:
        error = GateError(f"{late}; the end of its log, {worker.log}:\n{worker.log_tail()}")
        code = worker.ended()
        error.exit_code = code if code in FINAL_EXIT_CODES else TooLate.exit_code
        raise error from late
    narrator.say(f"the worker is ready (process {worker.pid})", "green")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _tell_how(narrator: Narrator, environment: dict[str, str], worker: WorkerProcess, broker: DevBroker | None) -> None:
    """Say what runs, and what to type in a second terminal."""
    narrator.chapter("What runs, until Ctrl-C here")
    stored = f"data in {_shown(broker.data_dir)}" if broker else "yours, named by GATE_KAFKA_BOOTSTRAP"
    narrator.line(f"    Kafka     {environment['GATE_KAFKA_BOOTSTRAP']}, {stored}")
    narrator.line(f"    worker    http://{environment['GATE_HTTP']}, data in {_shown(environment['GATE_DATA_DIR'])}")
    if environment.get("GATE_CONSOLE") == "1":
        narrator.line(f"    console   http://{environment['GATE_HTTP']}/console, in a browser: look accounts up")
    narrator.line(f"    its log   {_shown(worker.log)}; it is started again if it dies")
    narrator.chapter("What to type in a second terminal, in this folder")
    exports = {name: value for name, value in os.environ.items() if name.startswith("GATE_")}
    if broker is not None and broker.port != KAFKA_PORT:
        exports["GATE_KAFKA_BOOTSTRAP"] = broker.bootstrap
    if exports:
        narrator.line("  first of all, in each terminal: where Kafka is and what else is set here")
    for name, value in sorted(exports.items()):
        narrator.command(f"export {name}={shlex.quote(value)}")
    gate, http = ".venv/bin/withdrawal-gate", f"http://{environment['GATE_HTTP']}"
    for meaning, commands in {
        "see decisions as they come (and go on in a third terminal)": [f"{gate} watch"],
        "ask for a withdrawal: approved": [f"{gate} request {ACCOUNT} --wait 10"],
        f"press the panic button of {ACCOUNT}, ask again: rejected until a time": [
            f"{gate} press {ACCOUNT} --hours 24",
            f"{gate} request {ACCOUNT} --wait 10",
        ],
        f"what is known about {ACCOUNT}: from the topics, and from the worker": [
            f"{gate} status {ACCOUNT}",
            f"curl {http}/freezes/{ACCOUNT}",
        ],
        "the worker's health and metrics": [f"curl '{http}/readyz?verbose'", f"curl {http}/metrics"],
    }.items():
        narrator.line(f"  {meaning}")
        for command in commands:
            narrator.command(command)
    narrator.line(f"  No freeze can be ended: {ACCOUNT} stays frozen after a restart, take another name.")
    narrator.line("")


def _shown(path: Path | str) -> str:
    """Return a path as seen from here."""
    return os.path.relpath(path)


def _ended_event(broker: DevBroker | None) -> threading.Event:
    """Return an event that is set when the broker ends."""
    ended = threading.Event()

    def wait(until_its_end: Callable[[], int]) -> None:
        until_its_end()
        ended.set()

    if broker is not None:
        threading.Thread(target=wait, args=(broker.wait,), daemon=True, name="demo-broker").start()
    return ended


def _watch_over(narrator: Narrator, worker: WorkerProcess, broker_ended: threading.Event) -> None:
    """Start the worker again whenever it dies, until Ctrl-C or until the broker has ended."""
    while not broker_ended.wait(LOOK_SECONDS):
        code = worker.ended()
        if code is None:
            continue
        narrator.say(f"the worker has ended (exit code {code}); it is started again", "yellow")
        time.sleep(RESTART_SECONDS)  # the pace of restarts, should it end again at once
        worker.restart()
        try:
            _wait_ready(narrator, worker)
        except GateError as error:
            if error.exit_code in FINAL_EXIT_CODES:
                raise
            narrator.say(str(error).splitlines()[0], "red")
    message = f"Kafka has ended by itself; its log is {_shown(FOLDER / 'kafka' / 'kafka.log')}"
    raise KafkaUnreachable(message)
