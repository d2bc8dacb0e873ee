"""Freshness (G1): no withdrawal sent after the acknowledgement of a press is approved. follow, barrier and gate.

The world: accounts A and B. Each presses once, into any partition of `panic-button`, plainly or in a transaction,
and asks for one withdrawal, before or after. The second partition may be there from the start or be added on the way.
One worker, whose table follows at any pace.

- A plain press counts as acknowledged once it is appended; one in a transaction when the commit has returned. The
  markers, which let committed readers see it, are written a moment *after* that: Kafka's coordinator answers first.
- A request is promised a rejection when its account's press was acknowledged before it was appended. That promises a
  little more than G1 (before it was sent), and saves a step.

Steps, named as in streams/: follow.apply, barrier.ask, exactly_once.fetch, gate.decide (gather, rule and commit at
once; deciding.py takes the commit apart).
Faults: the worker is killed; the worker loses its data folder.

Left out: the brokers are one. A deposed leader that answers the barrier is in docs/proof.md, "Not covered".
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tests.model.explorer import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNTS = (0, 1)
NAMES = "AB"
# How a press lies in its partition. PREPARED: the commit has returned, its marker is not written yet.
SEEN, OPEN, PREPARED, ABORTED = range(4)
# How a request fares. PROMISED: its account's press was acknowledged before.
UNSENT, ASKED, PROMISED, APPROVED, REJECTED, APPROVED_WRONGLY = range(6)


class LeftOut(Enum):
    """The wrong variants: what is left out of the design."""

    NOTHING = "nothing"
    BARRIER = "the barrier"
    FETCH_FIRST = "fetching before the brokers are asked"
    ASKING_EACH_TIME = "asking after each fetch (the end offsets are kept from the first time)"
    OTHER_PARTITIONS = "the end offsets of all partitions but the first"
    NEW_PARTITIONS = "asking for the topic's partitions each time"
    HIGH_WATERMARK = "the high watermark (the last stable offset is asked for)"


class State(NamedTuple):
    """A moment of the world."""

    # Each partition's presses in order: (account, how it lies there).
    log: tuple[tuple[tuple[int, int], ...], ...]
    acknowledged: int  # bits of accounts
    requests: tuple[int, ...]
    batch: int  # bits of the accounts whose requests were fetched
    ends: tuple[int, ...] | None  # what the brokers answered for this batch
    kept: tuple[int, ...] | None  # what a wrong variant keeps from earlier
    followed: int  # partitions that the worker knows of
    applied: tuple[int, int]
    frozen: int  # bits of accounts in the table
    faults_left: int


class Freshness:
    """The scenario; the design itself, or with one thing left out."""

    name = "freshness"
    bounds = "2 accounts, a press and a request each, 2 panic partitions, 1 worker, 2 faults"

    def __init__(self, left_out: LeftOut = LeftOut.NOTHING) -> None:
        """Take what is left out."""
        self.left_out = left_out

    def initial(self) -> State:
        """Return a worker that has just started on an empty topic of one partition."""
        return State(((),), 0, (UNSENT, UNSENT), 0, None, None, 1, (0, 0), 0, 2)

    def broken(self, state: State) -> str | None:
        """G1, as the client sees it."""
        for account, request in zip(NAMES, state.requests, strict=True):
            if request == APPROVED_WRONGLY:
                return f"G1: {account}'s withdrawal was approved although its press had been acknowledged before"
        return None

    def done(self, state: State) -> bool:
        """Nothing that was asked is without an outcome."""
        return ASKED not in state.requests and PROMISED not in state.requests

    def steps(self, state: State) -> Iterator[Step]:
        """Clients, brokers, follower, gate, faults."""
        yield from self._clients(state)
        yield from self._follow(state)
        yield from self._gate(state)
        if state.faults_left:
            stopped = state._replace(batch=0, ends=None, kept=None, faults_left=state.faults_left - 1)
            yield Step(Kind.FAULT, "fault: kill -9; the worker starts again on its folder", stopped)
            emptied = stopped._replace(followed=len(state.log), applied=(0, 0), frozen=0)
            yield Step(Kind.FAULT, "fault: the worker starts again on an empty folder", emptied)

    def _clients(self, state: State) -> Iterator[Step]:
        log = state.log
        if len(log) == 1:
            yield Step(Kind.STEP, "panic-button is given a second partition", state._replace(log=(*log, ())))
        pressed = {account for partition in log for account, _ in partition}
        for account in ACCOUNTS:
            if account not in pressed:
                for partition in range(len(log)):
                    yield from self._press(state, account, partition)
            if state.requests[account] == UNSENT:
                promised = bool(state.acknowledged & 1 << account)
                asked = self._request(state, account, PROMISED if promised else ASKED)
                yield Step(Kind.STEP, f"{NAMES[account]} asks for a withdrawal", asked)
        for partition, presses in enumerate(log):
            for place, (account, lies) in enumerate(presses):
                if lies == OPEN:
                    acknowledged = self._lies(state, partition, place, PREPARED)
                    acknowledged = acknowledged._replace(acknowledged=state.acknowledged | 1 << account)
                    yield Step(Kind.STEP, f"{NAMES[account]}'s transaction: the commit returns", acknowledged)
                    aborted = self._lies(state, partition, place, ABORTED)
                    yield Step(Kind.STEP, f"{NAMES[account]}'s transaction is aborted", aborted)
                elif lies == PREPARED:
                    written = self._lies(state, partition, place, SEEN)
                    yield Step(Kind.STEP, f"{NAMES[account]}'s transaction: its marker is written", written)

    def _press(self, state: State, account: int, partition: int) -> Iterator[Step]:
        name = NAMES[account]
        seen = self._append(state, partition, (account, SEEN))
        seen = seen._replace(acknowledged=state.acknowledged | 1 << account)
        yield Step(Kind.STEP, f"{name} presses (partition {partition}) and has the acknowledgement", seen)
        opened = self._append(state, partition, (account, OPEN))
        yield Step(Kind.STEP, f"{name} presses in a transaction (partition {partition}), still open", opened)

    def _follow(self, state: State) -> Iterator[Step]:
        for partition in range(min(state.followed, len(state.log))):
            position = state.applied[partition]
            if position < self._stable(state.log[partition]):
                account, lies = state.log[partition][position]
                frozen = state.frozen | 1 << account if lies == SEEN else state.frozen
                applied = (position + 1, state.applied[1]) if partition == 0 else (state.applied[0], position + 1)
                folded = state._replace(applied=applied, frozen=frozen)
                yield Step(Kind.STEP, f"follow.apply: partition {partition} up to {position + 1}", folded)

    @staticmethod
    def _stable(presses: tuple[tuple[int, int], ...]) -> int:
        """Return the last stable offset: up to where a committed reader sees."""
        return next((place for place, (_, lies) in enumerate(presses) if lies in {OPEN, PREPARED}), len(presses))

    def _gate(self, state: State) -> Iterator[Step]:
        waiting = sum(1 << a for a in ACCOUNTS if state.requests[a] in {ASKED, PROMISED})
        ask_first = self.left_out is LeftOut.FETCH_FIRST
        if not state.batch and waiting and (not ask_first or state.ends is not None):
            yield Step(Kind.STEP, f"exactly_once.fetch: {_names(waiting)}", state._replace(batch=waiting))
        if state.ends is None and (state.batch or ask_first):
            yield self._ask(state)
        if state.batch and state.ends is not None:
            behind = any(end > state.applied[partition] for partition, end in enumerate(state.ends))
            if not behind or self.left_out is LeftOut.BARRIER:
                yield self._decide(state)

    def _ask(self, state: State) -> Step:
        followed = state.followed if self.left_out is LeftOut.NEW_PARTITIONS else len(state.log)
        if self.left_out is LeftOut.HIGH_WATERMARK:
            ends = tuple(map(self._stable, state.log))
        else:
            ends = tuple(len(presses) for presses in state.log[:followed])
        if self.left_out is LeftOut.OTHER_PARTITIONS:
            ends = ends[:1]
        if self.left_out is LeftOut.ASKING_EACH_TIME:
            ends = state.kept or ends
            return Step(Kind.STEP, f"barrier.ask: ends {ends}, as the first time", state._replace(ends=ends, kept=ends))
        asked = state._replace(ends=ends, followed=followed)
        return Step(Kind.STEP, f"barrier.ask: the brokers name the ends {ends}", asked)

    def _decide(self, state: State) -> Step:
        requests = list(state.requests)
        words = []
        for account in ACCOUNTS:
            if state.batch & 1 << account:
                frozen = state.frozen & 1 << account
                wrong = requests[account] == PROMISED
                requests[account] = REJECTED if frozen else APPROVED_WRONGLY if wrong else APPROVED
                words.append(f"{NAMES[account]} {'rejected' if frozen else 'approved'}")
        after = state._replace(requests=tuple(requests), batch=0, ends=None)
        return Step(Kind.STEP, f"gate.decide, table applied up to {state.applied}: {', '.join(words)}", after)

    @staticmethod
    def _append(state: State, partition: int, press: tuple[int, int]) -> State:
        log = tuple((*held, press) if number == partition else held for number, held in enumerate(state.log))
        return state._replace(log=log)

    @staticmethod
    def _lies(state: State, partition: int, place: int, lies: int) -> State:
        held = list(state.log[partition])
        held[place] = (held[place][0], lies)
        return state._replace(log=(*state.log[:partition], tuple(held), *state.log[partition + 1 :]))

    @staticmethod
    def _request(state: State, account: int, fares: int) -> State:
        requests = list(state.requests)
        requests[account] = fares
        return state._replace(requests=tuple(requests))


def _names(bits: int) -> str:
    return " and ".join(NAMES[account] for account in ACCOUNTS if bits & 1 << account)
