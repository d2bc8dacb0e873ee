"""What each contender keeps: presses, each followed by a request once it is acknowledged, at load, and a kill -9.

The gate's judge reads the history. It is held against what the gate promises, and so counts for each contender what
its users would have to live with, whatever its makers promise.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.judge import History, judge
from tests.benchmarks.load import JAVAS_PARTITIONER, LOG_CHARACTERS, BenchmarkError, deployment
from tests.deployment import places
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.peers.contenders import Contender
    from tests.deployment import Deployment, Publisher

# Half of the presses come from a client that chooses partitions as the requests' does, half from one that does not.
PRESSES = 2_000
PRESSES_PER_SECOND = 80
# Early enough that all are back before the last press, and late enough that it has worked for a while.
KILL_AT_PRESS = PRESSES // 3
ALIKE, OTHERWISE = "alike", "otherwise"
# Less than the slowest contender takes; a flood of other accounts' requests.
OTHER_REQUESTS_PER_SECOND, OTHER_ACCOUNTS = 500, 1_000
# Longer than a session and the start that follows; nothing has come for so long, so nothing more will.
QUIET_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What the judge counted."""

    contender: str
    presses_of_each_kind: int
    approved_where_partitions_are_chosen_alike: int
    approved_where_partitions_are_chosen_otherwise: int
    requests: int
    decided_twice: int
    never_decided: int
    ended_by_itself: bool


def keeps(bootstrap: str, contender: Contender) -> Kept:
    """Press and ask, account by account; kill the contender meanwhile and start it again on the same folder."""
    with deployment(bootstrap, "promises") as made:
        running = contender.start(made, made)
        try:
            with made.publisher(partitioner=JAVAS_PARTITIONER) as wallet, made.publisher() as otherwise:
                wallet.press("early")
                wait_for(lambda: _rejected(made, wallet), f"the first rejection of {contender.name}")
                with _other_requests(made):
                    for number in _paced(PRESSES, PRESSES_PER_SECOND):
                        kind, app = ((ALIKE, wallet), (OTHERWISE, otherwise))[number % 2]
                        app.press(f"{kind}-{number}")
                        wallet.request(f"{kind}-{number}", f"{kind}-{number}")
                        if number == KILL_AT_PRESS:
                            running.kill()
                            running = contender.start(made, made)
            _settle(made)
            return _count(contender, made.history, ended_by_itself=running.process.poll() is not None)
        except AssertionError as error:
            message = f"{error}\n{running.log.read_text()[-LOG_CHARACTERS:]}"
            raise BenchmarkError(message) from error
        finally:
            running.kill()


def _rejected(made: Deployment, wallet: Publisher) -> bool:
    """Ask once more, and tell whether the account that pressed first was ever rejected."""
    wallet.request("early")
    wallet.flush()
    return "rejected" in {decision["decision"] for decision in made.values("withdrawal-decision")}


def _paced(count: int, per_second: int) -> Iterator[int]:
    """Count, so many times a second."""
    pause, began_at = threading.Event(), time.monotonic()
    for number in range(count):
        pause.wait(max(0.0, began_at + number / per_second - time.monotonic()))
        yield number


@contextmanager
def _other_requests(made: Deployment) -> Iterator[None]:
    """Let other accounts ask at a steady pace meanwhile."""
    end = threading.Event()

    def run() -> None:
        with made.publisher(partitioner=JAVAS_PARTITIONER) as others:
            for number in _paced(sys.maxsize, OTHER_REQUESTS_PER_SECOND):
                if end.is_set():
                    return
                others.request(f"other-{number % OTHER_ACCOUNTS}", f"other-{number}")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _settle(made: Deployment) -> None:
    """Read the topics until every request has an outcome, or until nothing more comes."""
    wanted = places(made.history.requests)
    pause = threading.Event()
    most, since = -1, time.monotonic()
    while True:
        made.read_history()
        if wanted <= {(outcome.partition, outcome.offset) for outcome in made.history.outcomes}:
            return
        if len(made.history.outcomes) > most:
            most, since = len(made.history.outcomes), time.monotonic()
        elif time.monotonic() - since > QUIET_SECONDS:
            return
        pause.wait(0.5)


def _count(contender: Contender, history: History, *, ended_by_itself: bool) -> Kept:
    counts = judge(history).counts
    return Kept(
        contender.name,
        PRESSES // 2,
        _approved(history, ALIKE),
        _approved(history, OTHERWISE),
        len(history.requests),
        counts["decided twice"],
        counts["without outcome"],
        ended_by_itself,
    )


def _approved(history: History, kind: str) -> int:
    """Return how many requests of that kind were approved although sent after an acknowledged press."""
    of_kind = [request for request in history.requests if request.account_id.startswith(f"{kind}-")]
    part = History(history.presses, of_kind, history.press_records, history.outcomes)
    return len({finding for finding in judge(part).findings if finding.startswith("G1:")})
