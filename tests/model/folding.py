"""Folding (G2, G3): no freeze ends early, none lasts longer than was promised. follow, freeze table, policy, purge.

The world: one account, two presses in two partitions of `panic-button`, and the time from 0 to 3. A press is long (3)
or short (1); from time 2 on the policy allows 1 at most. A publisher's clock may be right or 2 behind. One worker
follows the partitions at any pace, one ahead of the other or not.

Steps, named as in streams/: follow.apply (fold and offset in one WriteBatch), purge, and the time that passes.
Faults: the worker is killed; it loses its data folder, and rebuilds the table from the topic.

What is checked in every moment, against what was promised when the button was pressed:

- G2: an applied press whose freeze is not over yet is in the table, with an end no earlier than its own.
- G3: the table's end is no later than the latest end that was promised.
- status: of the presses that were folded one at least has frozen the account, which is what `freeze-status` will say.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tests.model.explorer import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_TIME = 3
LONG, SHORT = 3, 1
# From then on a press may freeze for SHORT at most.
TIGHTER_FROM = 2
CLOCK_BEHIND = 2
PRESSES = 2
# What a press did, as the outbox keeps it for `announce`; NOTHING: not folded.
NOTHING, FROZEN, EXTENDED, UNCHANGED = range(4)
UNKNOWN = -1


class LeftOut(Enum):
    """The wrong variants: what is left out of the design."""

    NOTHING = "nothing"
    MAXIMUM = "the maximum (the last press wins)"
    BROKER_TIME = "the broker's time (the time in the body counts)"
    POLICY_HISTORY = "the policy by effective time (a rebuild takes today's)"
    OFFSET_WITH_FOLD = "one batch for fold and offset (the offset is written first)"
    FOLD_WITH_OFFSET = "one batch for fold and offset (the fold is written first)"
    KNOWN_TIME = "knowing the time before a purge"


class Press(NamedTuple):
    """A press as it lies in the topic."""

    append: int
    body: int
    asked: int

    @property
    def promised(self) -> int:
        """The end that the client was promised: by the broker's time and the policy that was in force then."""
        return self.append + (min(self.asked, SHORT) if self.append >= TIGHTER_FROM else self.asked)


class State(NamedTuple):
    """A moment of the world."""

    now: int
    log: tuple[tuple[Press, ...], ...]
    applied: tuple[int, ...]
    until: int  # the table's end of the freeze, 0 for none
    outcomes: tuple[tuple[int, ...], ...]  # what each folded press did
    half: int  # partition of a press half written, a wrong variant's; UNKNOWN for none
    heard: int  # the latest broker time that this worker has heard of; UNKNOWN after a start
    faults_left: int


class Folding:
    """The scenario; the design itself, or with one thing left out."""

    name = "folding"
    bounds = "1 account, 2 presses in 2 panic partitions, 4 moments, 2 policies, 1 worker, 2 faults"

    def __init__(self, left_out: LeftOut = LeftOut.NOTHING) -> None:
        """Take what is left out."""
        self.left_out = left_out

    def initial(self) -> State:
        """Return a worker that has just started on an empty topic."""
        return State(0, ((), ()), (0, 0), 0, ((), ()), UNKNOWN, UNKNOWN, 2)

    def broken(self, state: State) -> str | None:
        """G2, G3 and what will be announced."""
        for press in self._folded_presses(state):
            if state.now < press.promised and state.until < press.promised:
                held = f"the table says {state.until}" if state.until else "the table has no freeze"
                return f"G2: pressed at {press.append}, promised until {press.promised}; {held} at {state.now}"
        latest = max((press.promised for held in state.log for press in held), default=0)
        if state.until > latest:
            return f"G3: the table says {state.until}, but nobody was promised more than {latest}"
        said = [outcome for outcomes in state.outcomes for outcome in outcomes if outcome != NOTHING]
        if said and FROZEN not in said:
            return "status: the account was frozen, and no press will be announced as having frozen it"
        return None

    def _folded_presses(self, state: State) -> Iterator[Press]:
        """Yield what the table has applied; a press half written is being applied, by a worker that still lives."""
        for partition, (held, upto) in enumerate(zip(state.log, state.applied, strict=True)):
            halved = state.half == partition and self.left_out is LeftOut.OFFSET_WITH_FOLD
            yield from held[: upto - 1 if halved else upto]

    def done(self, state: State) -> bool:
        """Tell whether the table has applied all there is."""
        return state.half == UNKNOWN and all(
            upto == len(held) for held, upto in zip(state.log, state.applied, strict=True)
        )

    def steps(self, state: State) -> Iterator[Step]:
        """Time, clients, follower, faults."""
        if state.now < LAST_TIME:
            yield Step(Kind.STEP, f"it is {state.now + 1}", state._replace(now=state.now + 1))
        if sum(map(len, state.log)) < PRESSES:
            for partition in range(2):
                for asked, length in ((LONG, "long"), (SHORT, "short")):
                    for behind in (0, CLOCK_BEHIND):
                        press = Press(state.now, state.now - behind, asked)
                        log = _put(state.log, partition, (*state.log[partition], press))
                        clock = ", by a clock that is behind" if behind else ""
                        words = f"press, {length}, partition {partition}{clock}: promised until {press.promised}"
                        yield Step(Kind.STEP, words, state._replace(log=log))
        yield from self._follow(state)
        yield from self._purge(state)
        if state.faults_left:
            killed = state._replace(half=UNKNOWN, heard=UNKNOWN, faults_left=state.faults_left - 1)
            yield Step(Kind.FAULT, "fault: kill -9; the worker starts again on its folder", killed)
            emptied = killed._replace(applied=(0, 0), until=0, outcomes=((), ()))
            yield Step(Kind.FAULT, "fault: the worker starts again on an empty folder", emptied)

    def _follow(self, state: State) -> Iterator[Step]:
        if state.half != UNKNOWN:
            # The other half of the variants that write twice.
            finish, wrote = self._folded if self.left_out is LeftOut.OFFSET_WITH_FOLD else self._moved, state.half
            yield Step(
                Kind.STEP, "follow.apply: the other half is written", finish(state, wrote)._replace(half=UNKNOWN)
            )
            return
        for partition in range(2):
            position = state.applied[partition]
            if position == len(state.log[partition]):
                continue
            heard = state._replace(heard=max(state.heard, state.log[partition][position].append))
            words = f"follow.apply: partition {partition} up to {position + 1}"
            if self.left_out is LeftOut.OFFSET_WITH_FOLD:
                half = self._moved(heard, partition)._replace(half=partition)
                yield Step(Kind.STEP, f"{words}, its offset only", half)
            elif self.left_out is LeftOut.FOLD_WITH_OFFSET:
                half = self._folded(heard, partition)._replace(half=partition)
                yield Step(Kind.STEP, f"{words}, its fold only", half)
            else:
                yield Step(Kind.STEP, words, self._moved(self._folded(heard, partition), partition))

    def _folded(self, state: State, partition: int) -> State:
        """Fold the press at the position, or the one right before it when the offset was written first."""
        place = state.applied[partition] - (self.left_out is LeftOut.OFFSET_WITH_FOLD)
        press = state.log[partition][place]
        pressed = press.body if self.left_out is LeftOut.BROKER_TIME else press.append
        policy_of = state.now if self.left_out is LeftOut.POLICY_HISTORY else press.append
        end = pressed + (min(press.asked, SHORT) if policy_of >= TIGHTER_FROM else press.asked)
        until = end if self.left_out is LeftOut.MAXIMUM else max(state.until, end)
        outcome = FROZEN if state.until <= pressed else EXTENDED if end > state.until else UNCHANGED
        outcomes = list(state.outcomes[partition])
        outcomes += [NOTHING] * (place + 1 - len(outcomes))
        outcomes[place] = outcome
        return state._replace(until=until, outcomes=_put(state.outcomes, partition, tuple(outcomes)))

    def _moved(self, state: State, partition: int) -> State:
        return state._replace(applied=_put(state.applied, partition, state.applied[partition] + 1))

    def _purge(self, state: State) -> Iterator[Step]:
        """Drop a freeze that is over by the latest time heard of; without such a time nothing is known to be over."""
        if not state.until:
            return
        if state.heard == UNKNOWN:
            if self.left_out is LeftOut.KNOWN_TIME:
                # As happened here once: packed as a number without sign, -1 is later than every end.
                yield Step(Kind.STEP, "purge, up to a time that is not known", state._replace(until=0))
        elif state.until <= state.heard:
            yield Step(Kind.STEP, f"purge, up to {state.heard}", state._replace(until=0))


def _put(held: tuple, place: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*held[:place], value, *held[place + 1 :])
