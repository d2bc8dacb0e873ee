"""`withdrawal-gate demo`: the whole flow on a real broker, told as it happens, with a verdict at the end.

Withdrawals of many accounts flow; one account presses its panic button; the worker that decides it is killed and
another takes over; the judge reads everything that the topics hold and says whether a promise was broken. What the demo
makes (topics, groups, processes, folders) is named after it and gone at its end.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from schemas.topics import WITHDRAWAL_REQUEST
from streams.demo.stage import (
    READY_SECONDS,
    Narrator,
    TooLate,
    WorkerProcess,
    end_workers,
    free_port,
    interruptible,
    make_topics,
    reach_kafka,
    remove_traces,
    start_broker,
)
from streams.demo.traffic import ACCOUNTS, REQUESTS_PER_SECOND, Reading, Traffic, read_topics
from streams.dev_broker import HOST, DevBroker
from streams.errors import EXIT_FINE, EXIT_NO
from streams.inspect.retained import require_topics
from streams.judge import judge
from streams.kafka import SESSION_TIMEOUT_MS, reach
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.demo.traffic import Seen
    from streams.judge import History, RequestSent

ROBBED = "alice"
FREEZE_HOURS = 24
FLOW_SECONDS = 5.0
FROZEN_SECONDS = 5.0
AFTERWARDS_SECONDS = 4.0
DECISION_SECONDS = 20.0
RECENT_DECISIONS = 500
TAKEOVER_SECONDS = 45.0
OUTCOMES_SECONDS = 30.0
SHOWN_FINDINGS = 5
# Of the settings in the environment the demo takes those of the broker; the rest are its own or built in.
BROKER_SETTINGS = ("GATE_KAFKA_BOOTSTRAP", "GATE_KAFKA_OPTIONS")


def tell_story() -> int:
    """Tell the story and return the exit code: 0 when every promise was kept."""
    narrator = Narrator()
    narrator.line("withdrawal-gate: a panic button that stops withdrawals, shown on a real Kafka", "bold")
    try:
        with ExitStack() as stack, interruptible():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="withdrawal-gate-demo-")))
            narrator.chapter("Set-up")
            settings, environment = _prepare_kafka(narrator, stack, folder)
            workers = _start_workers(narrator, stack, environment, folder)
            try:
                _wait_until_shared(narrator, settings, workers)
                return _Story(narrator, stack, settings, workers).tell()
            except TooLate:
                _show_logs(workers)
                raise
    except KeyboardInterrupt:
        narrator.line("")
        narrator.say("stopped before the verdict; what the demo had started is ended")
        return EXIT_NO


def _prepare_kafka(narrator: Narrator, stack: ExitStack, folder: Path) -> tuple[Settings, dict[str, str]]:
    """Have a broker and topics; return the demo's settings, also as the environment of its workers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATE_")}
    name = f"demo-{secrets.token_hex(4)}"
    environment |= {"GATE_TOPIC_PREFIX": f"{name}.", "GATE_GROUP": name}
    named = os.environ.get("GATE_KAFKA_BOOTSTRAP")
    if named:
        environment |= {setting: os.environ[setting] for setting in BROKER_SETTINGS if setting in os.environ}
        narrator.say(f"using the Kafka at {named} (GATE_KAFKA_BOOTSTRAP)")
    else:
        broker = DevBroker(folder / "kafka")
        stack.callback(broker.kill)  # its data is thrown away, so it need not end in order
        start_broker(narrator, broker)
        environment["GATE_KAFKA_BOOTSTRAP"] = broker.bootstrap
        narrator.say(f"Apache Kafka runs at {broker.bootstrap}, in a temporary folder")
    settings = Settings.from_environment(environment)
    if named:
        reach_kafka(narrator, settings)
        stack.callback(remove_traces, settings)
    make_topics(narrator, settings)
    narrator.say(f"five topics are made, their names begin with {settings.topic_prefix}")
    return settings, environment


def _start_workers(
    narrator: Narrator, stack: ExitStack, environment: dict[str, str], folder: Path
) -> list[WorkerProcess]:
    """Start two workers."""
    workers: list[WorkerProcess] = []
    stack.callback(end_workers, narrator, workers)
    for name in ("A", "B"):
        own = {"GATE_DATA_DIR": str(folder / name), "GATE_HTTP": f"{HOST}:{free_port()}"}
        workers.append(WorkerProcess(name, {**environment, **own}, folder / f"worker-{name}.log"))
    return workers


def _wait_until_shared(narrator: Narrator, settings: Settings, workers: list[WorkerProcess]) -> None:
    """Wait until both workers are ready and share the request partitions between them."""
    topic = settings.topic(WITHDRAWAL_REQUEST.name)
    wanted = set(range(require_topics(reach(settings), [topic])[topic]))

    def shared() -> list[set[int]] | None:
        if not all(worker.ready() for worker in workers):
            return None
        parts = [worker.request_partitions() for worker in workers]
        return parts if all(parts) and not parts[0] & parts[1] and parts[0] | parts[1] == wanted else None

    parts = narrator.wait_for("both workers to be ready", shared, READY_SECONDS)
    for worker, mine in zip(workers, parts, strict=True):
        narrator.say(f"worker {worker.name} (process {worker.pid}) decides the requests in {_partitions(mine)}")


def _show_logs(workers: list[WorkerProcess]) -> None:
    """Put on stderr what the workers wrote last: their logs go with the temporary folder."""
    for worker in workers:
        sys.stderr.write(f"the end of the log of worker {worker.name}:\n{worker.log_tail()}\n")


def _partitions(numbers: set[int]) -> str:
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"


class _Story:
    """The four chapters. Every duration in them is taken on the one monotonic clock of this process."""

    def __init__(self, narrator: Narrator, stack: ExitStack, settings: Settings, workers: list[WorkerProcess]) -> None:
        self._say = narrator.say
        self._narrator = narrator
        self._settings = settings
        self._workers = workers
        self._traffic = Traffic(settings, ROBBED)
        self._reading = Reading(settings)
        stack.callback(self._reading.stop)
        stack.callback(self._traffic.let_go)
        self._acknowledged_at = self._killed_at = 0.0

    def tell(self) -> int:
        """Tell the chapters in turn; return the exit code."""
        self._flow()
        rejection = self._press()
        self._kill(rejection)
        in_time = self._finish()
        kept = tell_verdict(self._narrator, self._traffic.history) == EXIT_FINE
        tell_how_to_go_on(self._narrator)
        return EXIT_FINE if kept and in_time else EXIT_NO

    def _flow(self) -> None:
        self._narrator.chapter("1. Withdrawals flow")
        self._say(f"{ROBBED} and {ACCOUNTS} other accounts ask for withdrawals, {REQUESTS_PER_SECOND} a second in all")
        self._reading.start()
        self._traffic.start()
        first = self._wait_for_decision("the first approval", 0, lambda seen: seen.approved)
        self._say(f"the first approval: {_named(first)}", "green", first.at)
        self._pass(FLOW_SECONDS)
        usual = median(seen.at - self._sent_at(seen) for seen in self._reading.decisions[-RECENT_DECISIONS:])
        self._say(f"a decision takes {_ms(usual)} (median), from sending to reading")

    def _press(self) -> Seen:
        self._narrator.chapter(f"2. {ROBBED} presses the panic button: somebody has taken over the account")
        begun_at = time.monotonic()
        self._say(f"the press is sent to Kafka: no withdrawals of {ROBBED} for {FREEZE_HOURS} hours", at=begun_at)
        read_before = len(self._reading.decisions)
        sent = self._traffic.press(ROBBED, f"{self._settings.group}-press", FREEZE_HOURS * 3600)
        self._acknowledged_at = sent.acknowledged_at
        self._traffic.request(ROBBED)  # the thief does not wait
        took = _ms(self._acknowledged_at - begun_at)
        self._say(f"KAFKA HAS ACKNOWLEDGED THE PRESS, after {took}", "bold blue", self._acknowledged_at)
        self._say(f"the promise from here on: nothing that {ROBBED} asks for is approved", at=self._acknowledged_at)
        seen = self._wait_for_decision(
            f"a rejection for {ROBBED}", read_before, lambda seen: seen.account_id == ROBBED and not seen.approved
        )
        between = _ms(abs(seen.at - self._acknowledged_at))
        when = "after" if seen.at >= self._acknowledged_at else "before the publisher heard of"
        self._say(f"FIRST REJECTION, {between} {when} the acknowledgement: {_named(seen)}", "bold red", seen.at)
        self._say(f"{seen.reason}; {ROBBED}'s withdrawals resume at {seen.frozen_until}")
        self._pass(FROZEN_SECONDS)
        mine, others = self._approved_since_press(robbed=True), self._approved_since_press(robbed=False)
        self._say(f"since then {ROBBED} got {mine} approved, everybody else {others}", "bold")
        return seen

    def _kill(self, rejection: Seen) -> None:
        owner = self._narrator.wait_for("the owner of the partition", partial(self._owner, rejection), DECISION_SECONDS)
        other = next(worker for worker in self._workers if worker is not owner)
        orphaned = owner.request_partitions()
        self._narrator.chapter(f"3. Worker {owner.name} is killed, the one that decides {ROBBED}")
        read_before = len(self._reading.decisions)
        owner.kill()
        self._killed_at = time.monotonic()
        self._say(f"KILL -9 of worker {owner.name} (process {owner.pid}), in the middle of its work", "bold red")
        silence = SESSION_TIMEOUT_MS // 1000
        self._say(f"its {_partitions(orphaned)} wait until Kafka has missed it for about {silence} s")
        self._say(f"those of worker {other.name} go on, and nothing is approved without its owner")
        seen = self._after_kill("decisions in their place", read_before, orphaned)
        took = seen.at - self._killed_at
        self._say(
            f"WORKER {other.name} HAS TAKEN OVER by itself, {took:.1f} s after the kill",
            "bold green",
            seen.at,
        )
        seen = self._after_kill(f"a decision for {ROBBED}", read_before, orphaned, ROBBED)
        verb, style = ("APPROVED", "bold red") if seen.approved else ("still rejected", "red")
        until = ", until the same time" if seen.frozen_until == rejection.frozen_until else ""
        self._say(f"{ROBBED} is {verb}, now by worker {other.name}: {seen.withdrawal_id}{until}", style, seen.at)
        self._pass(AFTERWARDS_SECONDS)

    def _owner(self, rejection: Seen) -> WorkerProcess | None:
        return next((each for each in self._workers if rejection.partition in each.request_partitions()), None)

    def _after_kill(self, what: str, since: int, partitions: set[int], account_id: str | None = None) -> Seen:
        """Wait for a decision about a request that was sent after the kill."""

        def wanted(seen: Seen) -> bool:
            right = seen.partition in partitions and account_id in {None, seen.account_id}
            return right and self._sent_at(seen) > self._killed_at

        return self._wait_for_decision(what, since, wanted, TAKEOVER_SECONDS)

    def _wait_for_decision(
        self, what: str, since: int, wanted: Callable[[Seen], bool], limit_seconds: float = DECISION_SECONDS
    ) -> Seen:
        """Wait for a decision among those read after the first `since` ones."""
        return self._narrator.wait_for(
            what, lambda: self._reading.first(since, wanted), limit_seconds, self._how_it_stands
        )

    def _sent_at(self, seen: Seen) -> float:
        return self._traffic.request_of(seen.withdrawal_id).sent_at

    def _finish(self) -> bool:
        """Stop the traffic and let the judge read; False when an outcome did not come in time."""
        self._narrator.chapter("4. The verdict")
        with self._narrator.busy(lambda: "waiting for Kafka to acknowledge the last requests"):
            self._traffic.stop()
        history = self._traffic.history
        # Not acknowledged means not promised to anybody: such a request is no part of the history.
        failed = [sent for sent in history.requests if sent.offset < 0]
        if failed:
            self._say(f"{len(failed)} requests were not acknowledged by Kafka ({failed[0].failed})", "yellow")
            history.requests = [sent for sent in history.requests if sent.offset >= 0]
        self._say(f"no more requests; {len(history.requests):,} were sent")
        in_time = self._wait_for_outcomes({(sent.partition, sent.offset) for sent in history.requests})
        self._say("the judge reads all topics and compares them with what was sent")
        with self._narrator.busy(lambda: "the judge reads"):
            read_topics(self._settings, history)
        return in_time

    def _wait_for_outcomes(self, places: set[tuple[int, int]]) -> bool:
        try:
            self._narrator.wait_for(
                "an outcome for every request",
                lambda: places <= self._reading.answered,
                OUTCOMES_SECONDS,
                self._how_it_stands,
            )
        except TooLate as late:
            self._say(str(late), "bold red")
            return False
        return True

    def _pass(self, seconds: float) -> None:
        """Let the traffic flow for a while, so that one can see it flow, and tell how it stands."""
        with self._narrator.busy(self._how_it_stands):
            time.sleep(seconds)  # the pace of the story is the point

    def _how_it_stands(self) -> str:
        reading = self._reading
        waiting = max(0, len(self._traffic.history.requests) - len(reading.answered))
        robbed = f" ({ROBBED} {self._approved_since_press(robbed=True)})" if self._acknowledged_at else ""
        return f"approved {reading.approved:,}{robbed}, rejected {reading.rejected:,}, waiting {waiting:,}"

    def _approved_since_press(self, *, robbed: bool) -> str:
        """Count the approvals among the decisions about what was sent after the acknowledgement."""
        approved = [
            seen.approved
            for seen in tuple(self._reading.decisions)
            if (seen.account_id == ROBBED) is robbed and self._sent_at(seen) > self._acknowledged_at
        ]
        return f"{sum(approved):,} of {len(approved):,}"


def tell_verdict(narrator: Narrator, history: History) -> int:
    """Judge the history, show the counts and the verdict; return the exit code."""
    verdict = judge(history)
    counts = verdict.counts
    after = _asked_after_press(history)
    approved_after = sum(finding.startswith("G1:") for finding in verdict.findings)
    rows = {
        "requests": (counts["requests"], ""),
        "approved": (counts["approved"], ""),
        "rejected": (counts["rejected"], ""),
        "dead letters": (counts["dead letters"], ""),
        "decided twice": (counts["decided twice"] + counts["ids decided twice"], "must be 0"),
        "without outcome": (counts["without outcome"], "must be 0"),
        "approved after the acknowledged press": (approved_after, f"must be 0, of {len(after):,}"),
    }
    narrator.line("")
    for name, (count, note) in rows.items():
        wrong = bool(note) and count > 0
        text = f"    {name:<38}{count:>9,}"
        narrator.line(f"{text}   {note}" if note else text, "bold red" if wrong else "", " " * 8)
    narrator.line("")
    if verdict.kept:
        narrator.line(
            f"Verdict: every promise was kept. Each of {counts['requests']:,} requests has exactly one outcome, and of "
            f"the {len(after):,} sent after the acknowledged press none was approved.",
            "bold green",
        )
        return EXIT_FINE
    narrator.line(f"Verdict: A PROMISE WAS BROKEN, {len(verdict.findings):,} findings, the first of them:", "bold red")
    for finding in verdict.findings[:SHOWN_FINDINGS]:
        narrator.line(f"    {finding}", "red")
    return EXIT_NO


def _asked_after_press(history: History) -> list[RequestSent]:
    """Return the requests of frozen accounts whose sending began after the acknowledgement of the press."""
    since = {press.account_id: press.acknowledged_at for press in history.presses if press.acknowledged_at >= 0}
    return [sent for sent in history.requests if sent.sent_at > since.get(sent.account_id, sent.sent_at)]


def tell_how_to_go_on(narrator: Narrator) -> None:
    """Say how to try it by hand."""
    narrator.chapter("How to go on")
    gate = ".venv/bin/withdrawal-gate"
    ask = f"{gate} request {ROBBED} --wait 10"
    for where, commands in {
        "Keep a Kafka and a worker running in this terminal:": ["make up"],
        "In a second one, see decisions as they come:": [f"{gate} watch"],
        "In a third one, ask for a withdrawal, press the panic button, ask again:": [
            ask,
            f"{gate} press {ROBBED} --hours {FREEZE_HOURS}",
            ask,
        ],
    }.items():
        narrator.line(where)
        for command in commands:
            narrator.command(command)


def _named(seen: Seen) -> str:
    return f"{seen.withdrawal_id} of {seen.account_id}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
