"""Deciding (G4): each request has exactly one outcome, and gets it. exactly_once, lane, resume, decided ids.

The world: one partition of `withdrawal-request` holding requests with the *same* withdrawal id, so the first is to have
a decision and each further one a dead letter (a duplicate). Two workers in one consumer group take turns: the group
gives the partition to one at a time, but a worker that was paused may believe for a while that it still has it.

A worker goes through these steps, named as in streams/:

    exactly_once.assigned     the group gives it the partition: count up the epoch, keep the group metadata
    lane.open                 init_transactions: fence earlier producers of the transactional id, end what they left
    exactly_once.committed    ask the group's offset; waits while a transaction with an offset is open
    resume                    read the tails of decisions and dead letters; go on behind the last; restore the ids
    exactly_once.fetch        a batch, of one request or more
    lane.commit 1, 2, 3, 4    begin and produce; add the offset in the assignment's name; commit
    exactly_once.revoked      the group takes the partition back, or the worker learns that it is gone; not in a commit

Faults: a worker is killed (open transactions stay); it is paused for longer than its session (the group goes on without
it, it wakes up where it stood); a commit times out, having happened, or still on its way to the coordinator; the
coordinator ends a transaction that took too long; the group's offsets are set back to the beginning.

What Kafka does is modelled as it does it: adding an offset is refused to a generation that is not the group's, but the
commit itself is not checked by the group; a producer that is not its transactional id's newest is refused everything;
a commit request that is delayed ends whatever transaction its producer has open when it arrives (KAFKA-17754); the last
stable offset hides what lies behind an open transaction's first record.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tests.model.explorer import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = (0, 1)
NAMES = "AB"
NOBODY = -1
# A worker's part in the group. PAUSED: it believes that it is a member, but the group has gone on without it.
OUT, MEMBER, PAUSED = range(3)
# How far a lane is: assigned, after one and after two of the three steps of opening, open, and within a commit.
CLOSED, ASSIGNED, ONE, TWO, OPEN, MOVED_APART, PRODUCED, ADDED, DECIDED_APART = range(9)
IN_COMMIT = (MOVED_APART, PRODUCED, ADDED, DECIDED_APART)
# Whose an outcome in the log is: a worker's, while its transaction is open; a dead worker's; or committed.
DEAD, COMMITTED = 2, 3
DECISION, LETTER = range(2)


class LeftOut(Enum):
    """What can be left out of the design."""

    TRANSACTIONAL_ID = "the transactional id of the partition (each worker has one of its own, never used again)"
    METADATA_CHECK = "the check of the group's generation"
    EPOCH_CHECK = "throwing a batch away when the assignment changed after its fetch"
    TAIL = "going on behind the last outcome (the group's offset alone counts)"
    LETTER_TAIL = "looking at the dead letters for the last outcome"
    RENEWAL = "a new producer after a time-out (the old one is kept, the batch done again)"
    FENCE_FIRST = "fencing before asking where to go on"
    STABLE_OFFSET = "waiting for open transactions before the offset is taken (reading starts at the earliest instead)"
    OFFSET_IN_TRANSACTION = "one transaction (the offset is committed by itself, before the decisions)"
    DECISION_IN_TRANSACTION = "one transaction (the offset is committed by itself, after the decisions)"
    IDS = "restoring the ids decided before"


class Outcome(NamedTuple):
    """A record in `withdrawal-decision` or `dead-letter`; what was aborted is not kept."""

    request: int
    kind: int
    whose: int


class Worker(NamedTuple):
    """What a process knows; gone when it is killed."""

    part: int = OUT
    lane: int = CLOSED
    next: int = 0
    batch: tuple[int, int] | None = None
    fresh: bool = False  # the batch was fetched under the present assignment
    knows_id: bool = False


class State(NamedTuple):
    """A moment of the world."""

    workers: tuple[Worker, Worker]
    owner: int  # who has the partition, says the group
    committed: int  # the group's offset
    log: tuple[Outcome, ...]
    valid: tuple[bool, bool]  # whose producer may still do anything
    adding: tuple[int, int, int]  # the offset in each open transaction, NOBODY for none; the third is a dead worker's
    late: tuple[bool, bool, bool]  # whose commit request is still on its way
    faults_left: int


class Deciding:
    """The scenario; the design itself, or with something left out."""

    name = "deciding"

    def __init__(self, *left_out: LeftOut, requests: int = 2, faults: int = 3, rewinds: bool = True) -> None:
        """Take what is left out, and the bounds."""
        self.without = frozenset(left_out)
        self.requests = requests
        self.faults = faults
        self.rewinds = rewinds
        self.bounds = (
            f"{requests} requests of one id, 1 partition, 2 workers, any number of rebalances, {faults} faults"
        )
        if not rewinds:
            self.bounds += ", the group's offset is not set back"
        opening = (self._fence, self._ask_committed, self._resume)
        self._opening = (*opening[1:], opening[0]) if LeftOut.FENCE_FIRST in self.without else opening

    def initial(self) -> State:
        """Return two workers that are not members yet, and nothing decided."""
        return State((Worker(), Worker()), NOBODY, 0, (), (False, False), (NOBODY,) * 3, (False,) * 3, self.faults)

    def broken(self, state: State) -> str | None:
        """G4: an outcome once, an id decided once, a duplicate of something."""
        done = [outcome for outcome in state.log if outcome.whose == COMMITTED]
        for request in range(self.requests):
            if sum(outcome.request == request for outcome in done) > 1:
                return f"G4: request {request} has two outcomes"
        decisions = sum(outcome.kind == DECISION for outcome in done)
        if decisions > 1:
            return "G4: the withdrawal id was decided twice"
        return "G4: a request counts as a duplicate of nothing" if done and not decisions else None

    def done(self, state: State) -> bool:
        """Every request has an outcome that a committed reader sees."""
        return len({outcome.request for kind in (DECISION, LETTER) for outcome in _seen(state, kind)}) == self.requests

    def steps(self, state: State) -> Iterator[Step]:
        """Group, workers, coordinator, faults."""
        for who in WORKERS:
            yield from self._group(state, who)
            yield from self._work(state, who)
            if state.faults_left:
                yield from self._faults(state._replace(faults_left=state.faults_left - 1), who)
        yield from self._coordinator(state)
        if state.faults_left and state.committed and self.rewinds:
            rewound = state._replace(committed=0, faults_left=state.faults_left - 1)
            yield Step(Kind.FAULT, "fault: the group's offset is set back to 0", rewound)

    # The group

    def _group(self, state: State, who: int) -> Iterator[Step]:
        worker, name = state.workers[who], NAMES[who]
        if worker.part == OUT and state.owner == NOBODY:
            member = worker._replace(part=MEMBER, lane=ASSIGNED, next=0, fresh=False, knows_id=False)
            yield Step(Kind.STEP, f"{name} exactly_once.assigned", _with(state, who, member)._replace(owner=who))
        elif worker.part != OUT and worker.lane not in IN_COMMIT:
            yield Step(Kind.STEP, f"{name} exactly_once.revoked", self._left(state, who))

    @staticmethod
    def _left(state: State, who: int) -> State:
        """Count up the epoch and forget the lane; a batch in hand stays, no longer fresh."""
        gone = Worker(batch=state.workers[who].batch)
        left = _with(state, who, gone)
        return left._replace(owner=NOBODY) if left.owner == who else left

    # A worker

    def _work(self, state: State, who: int) -> Iterator[Step]:
        worker, name = state.workers[who], NAMES[who]
        if ASSIGNED <= worker.lane < OPEN:
            yield from self._opening[worker.lane - ASSIGNED](state, who)
        if worker.batch is None and worker.lane == OPEN:
            for end in range(worker.next + 1, self.requests + 1):
                fetched = worker._replace(batch=(worker.next, end), fresh=True)
                words = f"{name} exactly_once.fetch: {_requests(worker.next, end)}"
                yield Step(Kind.STEP, words, _with(state, who, fetched))
        if worker.batch is None:
            return
        if not worker.fresh and LeftOut.EPOCH_CHECK not in self.without:
            dropped = _with(state, who, worker._replace(batch=None))
            yield Step(Kind.STEP, f"{name} throws the batch of an earlier assignment away", dropped)
        elif worker.lane >= OPEN:
            yield self._commit(state, who, worker.batch)

    def _fence(self, state: State, who: int) -> Iterator[Step]:
        if LeftOut.TRANSACTIONAL_ID in self.without:
            fenced = _aborted(state, who)
        else:
            fenced = _aborted(_aborted(_aborted(state, 0), 1), DEAD)
            fenced = fenced._replace(valid=(False, False))
        fenced = fenced._replace(valid=_put(fenced.valid, who, True))
        yield Step(Kind.STEP, f"{NAMES[who]} lane.open", _opened(fenced, who))

    def _ask_committed(self, state: State, who: int) -> Iterator[Step]:
        unstable = any(offset != NOBODY for offset in state.adding)
        if not unstable:
            words = f"{NAMES[who]} exactly_once.committed: {state.committed}"
            yield Step(Kind.STEP, words, _opened(state, who, next=state.committed))
        elif LeftOut.STABLE_OFFSET in self.without:
            words = f"{NAMES[who]} takes an offset held back by an open transaction for none, and starts at 0"
            yield Step(Kind.STEP, words, _opened(state, who, next=0))

    def _resume(self, state: State, who: int) -> Iterator[Step]:
        decisions, letters = _seen(state, DECISION), _seen(state, LETTER)
        told = decisions if LeftOut.LETTER_TAIL in self.without else decisions + letters
        last = max((outcome.request for outcome in told), default=-1)
        start = state.workers[who].next
        if LeftOut.TAIL not in self.without:
            start = max(start, last + 1)
        knows_id = bool(decisions) and LeftOut.IDS not in self.without
        words = f"{NAMES[who]} resume: goes on at {start}"
        yield Step(Kind.STEP, words, _opened(state, who, next=start, knows_id=knows_id))

    def _commit(self, state: State, who: int, batch: tuple[int, int]) -> Step:
        """One step of lane.commit, by how far it is."""
        worker, name = state.workers[who], NAMES[who]
        if worker.lane == OPEN and LeftOut.OFFSET_IN_TRANSACTION in self.without:
            return self._move_apart(state, who, MOVED_APART)
        if worker.lane == DECIDED_APART:
            return self._move_apart(state, who, OPEN)
        if not state.valid[who]:
            return Step(Kind.STEP, f"{name} lane.commit: fenced, joins anew", self._fenced(state, who))
        return self._transact(state, who, batch)

    def _transact(self, state: State, who: int, batch: tuple[int, int]) -> Step:
        """One step of the transaction, by a producer that is not fenced."""
        worker, name = state.workers[who], NAMES[who]
        if worker.lane in {OPEN, MOVED_APART}:
            outcomes = _outcomes(batch, who, known=worker.knows_id)
            produced = _with(state, who, worker._replace(lane=PRODUCED))
            words = f"{name} lane.commit: begins, produces the outcome of {_requests(*batch)}"
            return Step(Kind.STEP, words, produced._replace(log=state.log + outcomes))
        apart = self.without & {LeftOut.OFFSET_IN_TRANSACTION, LeftOut.DECISION_IN_TRANSACTION}
        if worker.lane == PRODUCED and not apart:
            if worker.part != MEMBER and LeftOut.METADATA_CHECK not in self.without:
                words = f"{name} lane.commit: its generation is refused, it aborts and joins anew"
                return Step(Kind.STEP, words, _aborted(self._fenced(state, who), who))
            added = _with(state, who, worker._replace(lane=ADDED))
            added = added._replace(adding=_put(state.adding, who, batch[1]))
            return Step(Kind.STEP, f"{name} lane.commit: adds the offset {batch[1]}", added)
        after = _committed(state, who)
        if LeftOut.DECISION_IN_TRANSACTION in self.without:
            after = _with(after, who, worker._replace(lane=DECIDED_APART))
        else:
            after = _finished(after, who)
        return Step(Kind.STEP, f"{name} lane.commit: commits", after)

    def _move_apart(self, state: State, who: int, lane: int) -> Step:
        """Commit the offset by itself, as a member: the group checks that."""
        worker, name = state.workers[who], NAMES[who]
        if worker.part != MEMBER or worker.batch is None:
            return Step(Kind.STEP, f"{name}: its generation is refused, it joins anew", self._fenced(state, who))
        moved = _with(state, who, worker._replace(lane=lane)) if lane == MOVED_APART else _finished(state, who)
        moved = moved._replace(committed=worker.batch[1])
        return Step(Kind.STEP, f"{name} commits the offset {worker.batch[1]} by itself", moved)

    def _fenced(self, state: State, who: int) -> State:
        return _with(self._left(state, who), who, Worker())

    # The transaction coordinator

    def _coordinator(self, state: State) -> Iterator[Step]:
        for whose in (*WORKERS, DEAD):
            name = "a dead worker" if whose == DEAD else NAMES[whose]
            if state.late[whose]:
                arrived = _committed(state, whose)._replace(late=_put(state.late, whose, False))
                yield Step(Kind.STEP, f"{name}'s delayed commit request arrives", arrived)
            if not _is_open(state, whose):
                continue
            ended = _aborted(state, whose)
            if whose != DEAD:
                ended = ended._replace(valid=_put(state.valid, whose, False))
            if whose == DEAD or state.workers[whose].lane not in IN_COMMIT or state.workers[whose].part != MEMBER:
                yield Step(Kind.TIME, f"{name}'s transaction times out: aborted", ended)
            elif state.faults_left:
                words = f"fault: {name}'s transaction takes too long: aborted, its producer fenced"
                yield Step(Kind.FAULT, words, ended._replace(faults_left=state.faults_left - 1))

    # Faults

    def _faults(self, state: State, who: int) -> Iterator[Step]:
        worker, name = state.workers[who], NAMES[who]
        # Where no transactional id ends it, one dead worker's open transaction is enough: there is no second one.
        if worker != Worker() and not (_is_open(state, DEAD) and _is_open(state, who)):
            killed = _with(state, who, Worker())
            killed = killed._replace(owner=NOBODY if state.owner == who else state.owner)
            yield Step(Kind.FAULT, f"fault: kill -9 of {name}; the group notices", _orphaned(killed, who))
        if state.owner == who:
            paused = _with(state, who, worker._replace(part=PAUSED))._replace(owner=NOBODY)
            yield Step(Kind.FAULT, f"fault: {name} is paused for longer than its session, and wakes up", paused)
        if worker.lane == ADDED and state.valid[who]:
            happened = self._timed_out(_committed(state, who), who)
            yield Step(Kind.FAULT, f"fault: {name}'s commit happens, but its answer is lost: time-out", happened)
            under_way = self._timed_out(state, who)
            under_way = under_way._replace(late=_put(state.late, who, True))
            yield Step(Kind.FAULT, f"fault: {name}'s commit request is delayed: time-out", under_way)

    def _timed_out(self, state: State, who: int) -> State:
        worker = state.workers[who]
        if LeftOut.RENEWAL in self.without:
            # Takes the batch for undone: ends the transaction if it is open, and does it again with the same producer.
            return _with(_aborted(state, who), who, worker._replace(lane=OPEN, batch=None))
        return _with(state, who, worker._replace(lane=ASSIGNED, batch=None))


# What states are made of


def _seen(state: State, kind: int) -> list[Outcome]:
    """Return what a committed reader of that topic sees: up to the first record of an open transaction."""
    held = [outcome for outcome in state.log if outcome.kind == kind]
    stable = next((place for place, outcome in enumerate(held) if outcome.whose != COMMITTED), len(held))
    return held[:stable]


def _outcomes(batch: tuple[int, int], who: int, *, known: bool) -> tuple[Outcome, ...]:
    """Decide: the first request of an id that is not known gets the decision, each further one a dead letter."""
    kinds = [LETTER if known or request > batch[0] else DECISION for request in range(*batch)]
    return tuple(Outcome(request, kind, who) for request, kind in zip(range(*batch), kinds, strict=True))


def _is_open(state: State, whose: int) -> bool:
    return state.adding[whose] != NOBODY or any(outcome.whose == whose for outcome in state.log)


def _committed(state: State, whose: int) -> State:
    """End the open transaction of `whose`: its outcomes and its offset count."""
    log = tuple(outcome._replace(whose=COMMITTED) if outcome.whose == whose else outcome for outcome in state.log)
    committed = state.committed if state.adding[whose] == NOBODY else state.adding[whose]
    return state._replace(log=log, committed=committed, adding=_put(state.adding, whose, NOBODY))


def _aborted(state: State, whose: int) -> State:
    """End the open transaction of `whose`: nothing of it counts. A request on its way comes too late (new epoch)."""
    log = tuple(outcome for outcome in state.log if outcome.whose != whose)
    return state._replace(log=log, adding=_put(state.adding, whose, NOBODY), late=_put(state.late, whose, False))


def _orphaned(state: State, who: int) -> State:
    """Leave a killed worker's open transaction to nobody."""
    log = tuple(outcome._replace(whose=DEAD) if outcome.whose == who else outcome for outcome in state.log)
    if not _is_open(state, who):
        return state._replace(valid=_put(state.valid, who, False), late=_put(state.late, who, False))
    adding = (*_put(state.adding[:2], who, NOBODY), state.adding[who])
    late = (*_put(state.late[:2], who, False), state.late[who])
    return state._replace(log=log, adding=adding, late=late, valid=_put(state.valid, who, False))


def _finished(state: State, who: int) -> State:
    worker = state.workers[who]
    end = worker.next if worker.batch is None else worker.batch[1]
    return _with(state, who, worker._replace(lane=OPEN, next=end, batch=None, knows_id=True))


def _opened(state: State, who: int, **known: int) -> State:
    worker = state.workers[who]
    return _with(state, who, worker._replace(lane=worker.lane + 1, **known))  # type: ignore[arg-type]


def _with(state: State, who: int, worker: Worker) -> State:
    return state._replace(workers=_put(state.workers, who, worker))


def _put(held: tuple, place: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*held[:place], value, *held[place + 1 :])


def _requests(start: int, end: int) -> str:
    return " and ".join(f"request {number}" for number in range(start, end))
