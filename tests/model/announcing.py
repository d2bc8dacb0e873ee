"""Announcing: the end of a freeze is said once on `freeze-status`, and is said. The timers of announce.

The world: one account, one press at time 0 or 1 that freezes for 1, the time from 0 to 3. One worker announces; what it
takes for the time is what it has heard last, and after a start it has heard nothing (0).

The moment up to which ends have been announced travels as the metadata of the committed offset, in the transaction that
publishes them. Steps, named as in streams/announce.py: follow.apply, the press's own status, the ends that are due.
Faults: the worker is killed.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tests.model.explorer import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_TIME = 3
LAST_PRESS = 1
WINDOW = 1
NOT_PRESSED = -1


class LeftOut(Enum):
    """The wrong variants: what is left out of the design."""

    NOTHING = "nothing"
    MOMENT_WITH_ENDS = "the moment in the transaction of the ends (the ends are published first, outside of it)"
    ENDS_WITH_MOMENT = "the ends in the transaction of the moment (they are published after it, outside)"
    NEVER_BACK = "keeping the moment from going back"
    PRESSES_FIRST = "announcing every press there is before the moment moves on"


class State(NamedTuple):
    """A moment of the world."""

    now: int
    pressed: int  # when; NOT_PRESSED before
    applied: bool  # the press is in the freeze table
    announced: bool  # the press's own status is committed
    heard: int  # what the worker takes for the time
    moment: int  # up to which ends are announced, as committed
    ended: int  # how often the end was published
    half: int | None  # the moment of an announcement half made, a wrong variant's
    faults_left: int


class Announcing:
    """The scenario; the design itself, or with one thing left out."""

    name = "announcing"
    bounds = "1 press, 4 moments, 1 worker, 2 faults"

    def __init__(self, left_out: LeftOut = LeftOut.NOTHING) -> None:
        """Take what is left out."""
        self.left_out = left_out

    def initial(self) -> State:
        """Return a worker that has just started on an empty topic."""
        return State(now=0, pressed=NOT_PRESSED, applied=False, announced=False, heard=0, moment=0, ended=0,
                     half=None, faults_left=2)  # fmt: skip

    def broken(self, state: State) -> str | None:
        """Each cause once."""
        return "status: the end of the freeze was announced twice" if state.ended > 1 else None

    def done(self, state: State) -> bool:
        """Tell whether the end of the freeze, if there was one, was announced."""
        return state.pressed == NOT_PRESSED or state.ended > 0

    def steps(self, state: State) -> Iterator[Step]:
        """Time, client, worker, faults."""
        if state.now < LAST_TIME:
            yield Step(Kind.STEP, f"it is {state.now + 1}", state._replace(now=state.now + 1))
        if state.pressed == NOT_PRESSED and state.now <= LAST_PRESS:
            words = f"press, frozen until {state.now + WINDOW}"
            yield Step(Kind.STEP, words, state._replace(pressed=state.now))
        if state.heard < state.now:
            yield Step(Kind.STEP, f"the worker hears that it is {state.now}", state._replace(heard=state.now))
        if state.pressed != NOT_PRESSED and not state.applied:
            yield Step(Kind.STEP, "follow.apply: the press is in the table", state._replace(applied=True))
        if state.applied and not state.announced:
            yield Step(Kind.STEP, "announce: the press's status", state._replace(announced=True))
        yield from self._ends(state)
        if state.faults_left:
            killed = state._replace(heard=0, half=None, faults_left=state.faults_left - 1)
            yield Step(Kind.FAULT, "fault: kill -9; the worker starts again", killed)

    def _ends(self, state: State) -> Iterator[Step]:
        outside = self.left_out is LeftOut.MOMENT_WITH_ENDS
        if state.half is not None:
            if outside:
                yield Step(Kind.STEP, "announce: the moment is committed", state._replace(moment=state.half, half=None))
            else:
                yield Step(
                    Kind.STEP, "announce: the end is published", state._replace(ended=state.ended + 1, half=None)
                )
            return
        waiting = state.pressed != NOT_PRESSED and not state.announced
        if waiting and self.left_out is not LeftOut.PRESSES_FIRST:
            return
        until = state.heard if self.left_out is LeftOut.NEVER_BACK else max(state.moment, state.heard)
        due = state.applied and state.moment < state.pressed + WINDOW <= until
        if until == state.moment and not due:
            return
        if due and outside:
            yield Step(Kind.STEP, "announce: the end is published", state._replace(ended=state.ended + 1, half=until))
        elif due and self.left_out is LeftOut.ENDS_WITH_MOMENT:
            words = f"announce: the moment {until} is committed"
            yield Step(Kind.STEP, words, state._replace(moment=until, half=until))
        else:
            words = f"announce: {'the end and ' if due else ''}the moment {until}, in one transaction"
            yield Step(Kind.STEP, words, state._replace(moment=until, ended=state.ended + due))
