"""Overlapping (G4): a large batch commits while the next is decided. gate.process, settle, the ids on their way.

The world: one partition of `withdrawal-request` holding three requests with the same withdrawal id, so the first is to
have a decision and the others dead letters. One worker, whose transactions are one step here (deciding.py takes them
apart) that may fail.

Steps, named as in streams/gate.py and exactly_once.py: fetch, decide (gather and rule), submit (the batch is handed to
the committing thread), commit; revoked and assigned, which opens the lane again behind the last outcome.
Faults: a commit fails, having done nothing; the worker is killed.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tests.model.explorer import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 3
DECISION, LETTER = range(2)


class LeftOut(Enum):
    """The wrong variants: what is left out of the design."""

    NOTHING = "nothing"
    ON_THEIR_WAY = "taking the ids on their way for decided"
    FAILED_BEFORE = "throwing the next batch away when the commit before it failed"
    SETTLE = "settling first what is on its way under an earlier assignment"


class Batch(NamedTuple):
    """Requests fetched, from the first up to but without the last."""

    start: int
    end: int
    fresh: bool  # fetched under the present assignment
    knew_id: bool | None = None  # once decided: whether the id had been decided before


class State(NamedTuple):
    """A moment of the world."""

    assigned: bool
    next: int  # the lane's next offset: the first without a committed outcome, as far as the worker knows
    knows_id: bool
    batch: Batch | None
    committing: Batch | None
    outcomes: tuple[tuple[int, ...], ...]  # of each request, committed
    faults_left: int


class Overlapping:
    """The scenario; the design itself, or with one thing left out."""

    name = "overlapping"
    bounds = "3 requests with one id, 1 worker, 2 batches in hand, any number of rebalances, 2 faults"

    def __init__(self, left_out: LeftOut = LeftOut.NOTHING) -> None:
        """Take what is left out."""
        self.left_out = left_out

    def initial(self) -> State:
        """Return a worker without an assignment."""
        return State(assigned=False, next=0, knows_id=False, batch=None, committing=None,
                     outcomes=((),) * REQUESTS, faults_left=2)  # fmt: skip

    def broken(self, state: State) -> str | None:
        """G4: an outcome once, an id decided once, a duplicate of something."""
        kinds = [kind for held in state.outcomes for kind in held]
        if any(len(held) > 1 for held in state.outcomes):
            return "G4: a request has two outcomes"
        if kinds.count(DECISION) > 1:
            return "G4: the withdrawal id was decided twice"
        return "G4: a request counts as a duplicate of nothing" if kinds and DECISION not in kinds else None

    def done(self, state: State) -> bool:
        """Every request has its outcome."""
        return all(state.outcomes)

    def steps(self, state: State) -> Iterator[Step]:
        """Group, gate, commits, faults."""
        if not state.assigned:
            last = max((number for number, held in enumerate(state.outcomes) if held), default=-1)
            knows_id = any(DECISION in held for held in state.outcomes)
            opened = state._replace(assigned=True, next=last + 1, knows_id=knows_id)
            yield Step(Kind.STEP, f"exactly_once.assigned; the lane goes on at {last + 1}", opened)
        else:
            yield Step(Kind.STEP, "exactly_once.revoked", _stale(state)._replace(assigned=False))
            yield from self._fetch(state)
        yield from self._decide(state)
        yield from self._commit(state)
        if state.faults_left:
            killed = self.initial()._replace(outcomes=state.outcomes, faults_left=state.faults_left - 1)
            yield Step(Kind.FAULT, "fault: kill -9", killed)

    def _fetch(self, state: State) -> Iterator[Step]:
        if state.batch is not None:
            return
        # The consumer reads on behind what it fetched last; after a new assignment from the lane's next offset.
        ahead = state.committing is not None and state.committing.fresh
        start = state.committing.end if ahead and state.committing else state.next
        for end in range(start + 1, REQUESTS + 1):
            fetched = state._replace(batch=Batch(start, end, fresh=True))
            yield Step(Kind.STEP, f"fetch: requests {start} to {end - 1}", fetched)

    def _decide(self, state: State) -> Iterator[Step]:
        batch, committing = state.batch, state.committing
        if batch is None:
            return
        if batch.knew_id is None:
            other = committing is not None and committing.fresh != batch.fresh
            if other and self.left_out is not LeftOut.SETTLE:
                return  # settle: the commit on its way ends first
            on_its_way = committing is not None and self.left_out is not LeftOut.ON_THEIR_WAY
            knew_id = state.knows_id or on_its_way
            words = f"decide: requests {batch.start} to {batch.end - 1}, the id is {'known' if knew_id else 'new'}"
            yield Step(Kind.STEP, words, state._replace(batch=batch._replace(knew_id=knew_id)))
        elif committing is None:
            yield Step(Kind.STEP, "submit the batch for its commit", state._replace(batch=None, committing=batch))

    def _commit(self, state: State) -> Iterator[Step]:
        batch = state.committing
        if batch is None:
            return
        if not batch.fresh:
            words = "commit: nothing, the assignment has changed since the fetch"
            yield Step(Kind.STEP, words, state._replace(committing=None))
            return
        outcomes = list(state.outcomes)
        for request in range(batch.start, batch.end):
            decides = not batch.knew_id and request == batch.start
            outcomes[request] = (*outcomes[request], DECISION if decides else LETTER)
        done = state._replace(outcomes=tuple(outcomes), committing=None, next=batch.end, knows_id=True)
        yield Step(Kind.STEP, f"commit: requests {batch.start} to {batch.end - 1}", done)
        if state.faults_left:
            # The epoch is counted up: the lane is opened again, and what was fetched behind it is read again.
            failed = state._replace(committing=None, faults_left=state.faults_left - 1)
            if self.left_out is not LeftOut.FAILED_BEFORE:
                failed = _stale(failed)
            yield Step(Kind.FAULT, "fault: the commit fails", failed)


def _stale(state: State) -> State:
    """Count up the epoch: nothing in hand is of the present assignment any more."""
    batch = None if state.batch is None else state.batch._replace(fresh=False)
    committing = None if state.committing is None else state.committing._replace(fresh=False)
    return state._replace(batch=batch, committing=committing)
