"""A breadth-first explorer: every state that a model can reach, and the shortest way to a broken promise.

Three things are asked of a model, and the first answer that is no ends the search:

1. safe:    no reachable state is `broken`
2. live:    from every reachable state, steps that are no faults lead to a state that is `done`. A run in which faults
            have stopped, and in which what can happen again and again does happen, therefore gets there.
3. prompt:  the same without steps of TIME, so that nothing waits for a time-out to run off

States are tuples of small values, equal when they are the same moment; the search keeps each once. What it finds is a
proof for the bounds that the model states, and for nothing beyond them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

S = TypeVar("S", bound="Hashable")
# A model that outgrows this is no longer small; each takes a few seconds below it.
MOST_STATES = 600_000


class Kind(IntEnum):
    """What makes a step happen."""

    STEP = 0  # the program or its clients go on
    TIME = 1  # a time-out runs off
    FAULT = 2  # something breaks; bounded in number by the model


class Step(NamedTuple):
    """What happens, in words, and the state after it."""

    kind: Kind
    words: str
    after: Hashable


class Model(Protocol[S]):
    """What the explorer needs to know."""

    @property
    def name(self) -> str:
        """What the model is about, in a word."""

    @property
    def bounds(self) -> str:
        """How much of everything there is."""

    def initial(self) -> S:
        """Return the state in which everything begins."""

    def steps(self, state: S) -> Iterable[Step]:
        """Return all that can happen next."""

    def broken(self, state: S) -> str | None:
        """Return which promise is broken here, and how."""

    def done(self, state: S) -> bool:
        """Tell whether everything asked for has been answered."""


@dataclass(frozen=True, slots=True)
class Found:
    """How far the search went, and what it found: nothing, or the promise and the story of how it was broken."""

    states: int
    broken: str | None = None
    story: list[str] = field(default_factory=list)

    @property
    def promise(self) -> str | None:
        """The first word of what was broken, None when all was kept."""
        return None if self.broken is None else self.broken.split(":", 1)[0]

    def __str__(self) -> str:
        """Tell it, a step a line."""
        told = [f"  {number}. {words}" for number, words in enumerate(self.story, start=1)]
        return "\n".join([*told, f"  => {self.broken}"]) if self.broken else f"  kept in all {self.states:,} states"


def explore(model: Model[S]) -> Found:
    """Look at every reachable state; raise RuntimeError when there are more than can be called small."""
    states: list[S] = [model.initial()]
    numbers = {states[0]: 0}
    came: list[tuple[int, str]] = [(-1, "")]
    # For each state, from which ones a step of each kind leads there.
    before: list[list[tuple[int, Kind]]] = [[]]
    # The list grows while it is walked: that is what makes the search breadth first.
    for number, state in enumerate(states):
        if (broken := model.broken(state)) is not None:
            return Found(len(states), broken, _story(came, number))
        for kind, words, after in model.steps(state):
            found = numbers.setdefault(after, len(states))  # type: ignore[arg-type]
            if found == len(states):
                states.append(after)  # type: ignore[arg-type]
                came.append((number, words))
                before.append([])
                if found > MOST_STATES:
                    message = f"{model.name} has more than {MOST_STATES} states"
                    raise RuntimeError(message)
            if kind is not Kind.FAULT:
                before[found].append((number, kind))
    done = [number for number, state in enumerate(states) if model.done(state)]
    stuck = _first_without(before, done, Kind.TIME)
    if stuck is not None:
        return Found(len(states), "never: no step leads on to an outcome for everything", _story(came, stuck))
    late = _first_without(before, done, Kind.STEP)
    if late is not None:
        return Found(len(states), "late: nothing goes on until a time-out has run off", _story(came, late))
    return Found(len(states))


def _story(came: list[tuple[int, str]], number: int) -> list[str]:
    """Return the words of the steps that led there first."""
    story: deque[str] = deque()
    while number > 0:
        number, words = came[number]
        story.appendleft(words)
    return list(story)


def _first_without(before: list[list[tuple[int, Kind]]], done: list[int], slowest: Kind) -> int | None:
    """Return the first state from which no steps of kinds up to `slowest` lead to one that is done."""
    good = bytearray(len(before))
    for number in done:
        good[number] = 1
    ahead = list(done)
    while ahead:
        for number, kind in before[ahead.pop()]:
            if kind <= slowest and not good[number]:
                good[number] = 1
                ahead.append(number)
    first = good.find(0)
    return None if first < 0 else first
