"""Peers beside the gate: throughput in rounds that take turns, and what each keeps of what the gate promises."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from tests.benchmarks.load import LOG_CHARACTERS, BenchmarkError, deployment, publish_presses, publish_requests
from tests.benchmarks.peers.contenders import GATE, PEERS
from tests.benchmarks.peers.promises import keeps
from tests.benchmarks.throughput import run_bare, watch
from tests.tools import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.load import Published
    from tests.benchmarks.peers.contenders import Contender
    from tests.benchmarks.peers.promises import Kept
    from tests.benchmarks.throughput import Run
    from tests.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Frozen:
    """How many requests of accounts that were frozen before it started a contender rejected."""

    contender: str
    rejected: int
    of: int


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was measured; who failed how stands in `failures`, a sentence each."""

    runs: list[Run]
    frozen: list[Frozen]
    kept: list[Kept]
    failures: list[str]


def measure(bootstrap: str, requests: int, rounds: int, say: Callable[[str], None]) -> Found:
    """Let each contender decide the same requests, round by round, then try what each keeps."""
    contenders = _that_can_be_had(say)
    found = Found([], [], [], [])
    for number in range(1, rounds + 1):
        for count, group in groupby(contenders, lambda contender: min(contender.most_requests, requests)):
            members = list(group)
            with deployment(bootstrap, f"round-{number}") as inputs:
                say(f"round {number} of {rounds}: publishing {count:,} requests")
                publish_presses(inputs, by_key=True)
                published = publish_requests(inputs, count, by_key=True)
                if GATE in members:
                    found.runs.append(run_bare(inputs, number, published))
                # Who begins is another one each round.
                turn = number % len(members)
                for contender in members[turn:] + members[:turn]:
                    say(f"round {number} of {rounds}: {contender.name}")
                    with _failing_alone(contender, found, say):
                        _run(contender, inputs, number, published, found)
    for contender in contenders:
        say(f"what it keeps: {contender.name}")
        with _failing_alone(contender, found, say):
            found.kept.append(keeps(bootstrap, contender))
    return found


def _that_can_be_had(say: Callable[[str], None]) -> list[Contender]:
    """Fetch what the peers need; leave out, with a word, those for which it can't be had."""
    able = [GATE]
    for peer in PEERS:
        try:
            peer.prepare()
        except FetchError as error:
            say(f"{peer.name} is left out, for what it needs could not be fetched: {error}")
        else:
            able.append(peer)
    return able


@contextmanager
def _failing_alone(contender: Contender, found: Found, say: Callable[[str], None]) -> Iterator[None]:
    """Let a peer fail without the others; its failure is a finding. The gate must not fail."""
    try:
        yield
    except BenchmarkError as error:
        if contender is GATE:
            raise
        found.failures.append(f"{contender.name}: {error}")
        say(found.failures[-1])


def _run(contender: Contender, inputs: Deployment, number: int, published: Published, found: Found) -> None:
    """Measure one contender in one round; in the first, count its rejections, too."""
    with nullcontext(inputs) if contender.in_place else deployment(inputs.bootstrap, "outputs") as outputs:
        running = contender.start(inputs, outputs)
        try:
            found.runs.append(watch(contender.name, outputs, number, published, running.process))
        except BenchmarkError as error:
            message = f"{error}\n{running.log.read_text()[-LOG_CHARACTERS:]}"
            raise BenchmarkError(message) from error
        finally:
            running.kill()
        if number == 1:
            found.frozen.append(Frozen(contender.name, _rejections(outputs), published.rejections))


def _rejections(outputs: Deployment) -> int:
    return sum(b'"decision":"rejected"' in (message.value() or b"") for message in outputs.read("withdrawal-decision"))
