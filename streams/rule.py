"""THE RULE. What a press does to an account, and what a freeze does to a withdrawal, stand here and nowhere else.

Pure: no I/O, no Kafka, no clock. Every time is the broker's append time, in milliseconds since 1970.

- A press freezes its account from its append time on, for as long as the policy that was in force then allows.
- Presses fold by maximum: the end of a freeze never moves earlier, whatever is repeated, replayed or reordered.
- A withdrawal is stopped exactly when a freeze ends later than the withdrawal was requested.

There is no function that ends a freeze. Please don't write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from schemas.freeze_status import Adjusted, Status

# The shortest and longest window of the panic button as announced (Binance, 2026: 24 hours to 7 days); the default is
# that product's 48 hours.
MIN_SECONDS = 86_400
DEFAULT_SECONDS = 172_800
MAX_SECONDS = 604_800
# 100 years: keeps every end of a freeze inside what RFC 3339 and 64 bits can hold.
MAX_POLICY_SECONDS = 3_155_760_000


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """Bounds of a freeze, in seconds, in force for presses appended at `effective_from_ms` or later."""

    effective_from_ms: int
    min_seconds: int
    default_seconds: int
    max_seconds: int

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other (ValueError)."""
        if not 1 <= self.min_seconds <= self.default_seconds <= self.max_seconds <= MAX_POLICY_SECONDS:
            message = f"needed is 1 <= min_seconds <= default_seconds <= max_seconds <= {MAX_POLICY_SECONDS}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class FreezePolicy:
    """The history of bounds, oldest first: a press keeps for ever the window that it got when it was pressed."""

    entries: tuple[PolicyEntry, ...]

    def __post_init__(self) -> None:
        """Refuse an empty history or one that is not in order (ValueError)."""
        times = [entry.effective_from_ms for entry in self.entries]
        if not times or times != sorted(set(times)):
            message = "needed is at least one entry, each with a later effective_from than the one before"
            raise ValueError(message)

    def at(self, pressed_ms: int) -> PolicyEntry:
        """Return the entry in force at that time; before the first entry, the first."""
        in_force = self.entries[0]
        for entry in self.entries[1:]:
            if entry.effective_from_ms > pressed_ms:
                break
            in_force = entry
        return in_force

    @property
    def longest_seconds(self) -> int:
        """The longest window that any entry allows."""
        return max(entry.max_seconds for entry in self.entries)


BUILT_IN_POLICY = FreezePolicy((PolicyEntry(0, MIN_SECONDS, DEFAULT_SECONDS, MAX_SECONDS),))


class Freeze(NamedTuple):
    """A freeze in force until `frozen_until_ms`, as the press `press_id` set that end.

    A tuple, as are the press and its place: a rebuild makes millions of each, and a frozen dataclass takes five times
    as long to make.
    """

    frozen_until_ms: int
    press_id: str
    frozen_since_ms: int
    pressed_ms: int
    asked_seconds: int | None
    applied_seconds: int
    adjusted: Adjusted | None

    @property
    def set_by(self) -> tuple[int, str]:
        """What decides between two freezes of an account: the end, then the id of the press that set it."""
        return self.frozen_until_ms, self.press_id


def freeze_of_press(policy: FreezePolicy, press_id: str, asked_seconds: int | None, pressed_ms: int) -> Freeze:
    """Return the freeze that a press alone makes; a length out of bounds is moved to the nearest bound."""
    bounds = policy.at(pressed_ms)
    adjusted: Adjusted | None = None
    if asked_seconds is None:
        applied, adjusted = bounds.default_seconds, Adjusted.DEFAULTED
    elif asked_seconds < bounds.min_seconds:
        applied, adjusted = bounds.min_seconds, Adjusted.RAISED
    elif asked_seconds > bounds.max_seconds:
        applied, adjusted = bounds.max_seconds, Adjusted.LOWERED
    else:
        applied = asked_seconds
    until_ms = pressed_ms + applied * 1000
    return Freeze(until_ms, press_id, pressed_ms, pressed_ms, asked_seconds, applied, adjusted)


def fold(current: Freeze | None, pressed: Freeze) -> tuple[Freeze, Status]:
    """Return the freeze in force after a press, and what the press did to it.

    The later end wins; of two equal ends the greater press id, so that the outcome is the same in any order.
    """
    if current is None or current.frozen_until_ms <= pressed.pressed_ms:
        return pressed, Status.FROZEN
    since_ms = min(current.frozen_since_ms, pressed.frozen_since_ms)
    if pressed.frozen_until_ms > current.frozen_until_ms:
        return pressed._replace(frozen_since_ms=since_ms), Status.EXTENDED
    if pressed.set_by > current.set_by:
        return pressed._replace(frozen_since_ms=since_ms), Status.UNCHANGED
    if pressed.frozen_until_ms >= current.frozen_since_ms:
        return current._replace(frozen_since_ms=since_ms), Status.UNCHANGED
    return current, Status.UNCHANGED


def is_frozen(frozen_until_ms: int, requested_ms: int) -> bool:
    """Tell whether a freeze that ends at `frozen_until_ms` stops a withdrawal requested at `requested_ms`."""
    return frozen_until_ms > requested_ms
