"""`withdrawal-gate report`: how the button is used, day by day, without a word about anybody.

What the announcement of such a button left open: how many press, which windows they choose, how often they extend, how
many requests were stopped and of which kinds, how soon, and how many freezes stopped nothing (perhaps accidents).

A freeze here is an episode: from the press that froze an account to its end, with every press that moved the end. It
counts for the day (UTC) on which it began; presses and stopped requests count for their own. State of accounts lies in
RocksDB in a temporary folder, so memory does not grow with their number.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from schemas import panic_button, withdrawal_decision
from schemas.freeze_status import REMINDER_MS, Status
from schemas.panic_button import Press, parse_press
from schemas.wire import Fault, parse_object, rfc3339
from schemas.withdrawal_decision import Reason
from streams.inspect.report_page import report_page
from streams.inspect.retained import Span, retained, span_between
from streams.output import emit, write_file
from streams.rule import Freeze, fold, freeze_of_press
from streams.store import open_store, scan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rocksdict import Rdict

    from streams.settings import Settings

# Kinds, assets and windows chosen less often than this are shown together: who knows one of so few knows them all.
MIN_SHOWN = 5
# What publishers may write as a kind or an asset is theirs; so many different ones are told apart, each cut to so much.
MAX_NAMES = 200
MAX_NAME_CHARACTERS = 32
OTHER = "other"
_ACCOUNT, _ACCOUNT_END = b"a", b"b"


@dataclass(slots=True)
class Day:
    """What happened on a day, or in all."""

    counts: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    assets: Counter[str] = field(default_factory=Counter)
    stopped_after_seconds: list[float] = field(default_factory=list)

    def add(self, other: Day) -> None:
        """Take another day in."""
        self.counts += other.counts
        self.windows += other.windows
        self.kinds += other.kinds
        self.assets += other.assets
        self.stopped_after_seconds += other.stopped_after_seconds

    def row(self, name: str) -> dict[str, Any]:
        """Return what may be shown."""
        return {
            "day": name,
            **{count: self.counts[count] for count in COUNTS},
            "median_seconds_to_first_stopped": median(self.stopped_after_seconds) if self._enough() else None,
            "windows_seconds": _shown(self.windows),
            "stopped_kinds": _shown(self.kinds),
            "stopped_assets": _shown(self.assets),
        }

    def _enough(self) -> bool:
        return len(self.stopped_after_seconds) >= MIN_SHOWN


# presses: all; of them those that froze, moved the end, moved it when the reminder was due, or changed nothing, and
# those whose length was adjusted
# freezes: episodes begun; of them over by now, those over that stopped no request, and those begun within a day of the
# end of the one before. stopped_requests: rejected because frozen; of all that were decided, as were invalid_requests.
# presses_without_account: those whose account can't be told; they are not among the presses.
COUNTS = (
    "presses", "frozen", "extended", "extended_in_last_hour", "unchanged", "defaulted", "raised", "lowered",
    "freezes", "over", "over_without_stopped", "again_within_a_day", "stopped_requests",
    "decided", "invalid_requests", "presses_without_account",
)  # fmt: skip
DAY_MS = 86_400_000


def report(
    settings: Settings, since: str | None, until: str | None, csv_path: Path | None, html_path: Path | None
) -> None:
    """Print a line a day and one for all; write the same to files: as CSV without the breakdowns, as a page with plots.

    Raises SettingsError, KafkaUnreachable, TopicFaults.
    """
    span = span_between(since, until)
    with tempfile.TemporaryDirectory(prefix="gate-report-") as folder:
        database = open_store(Path(folder), {"report": "1"})
        try:
            days, now_ms = _read(settings, span, database)
        finally:
            database.close()
    total = Day()
    for day in days.values():
        total.add(day)
    rows = [day.row(rfc3339(first_ms)[:10]) for first_ms, day in sorted(days.items())]
    rows.append({**total.row("all"), "until": rfc3339(now_ms) if now_ms else None})
    if settings.shadow:
        # What is called stopped would have been stopped.
        rows = [{"shadow": True, **row} for row in rows]
    for row in rows:
        emit(row)
    if csv_path is not None:
        write_file("--csv", csv_path, _csv(rows))
    if html_path is not None:
        write_file("--html", html_path, report_page(rows, since, until))


def _read(settings: Settings, span: Span, database: Rdict) -> tuple[dict[int, Day], int]:
    days: defaultdict[int, Day] = defaultdict(Day)
    # Presses before the span matter for it: they say whether a press in it froze or extended.
    now_ms = _fold_presses(settings, span, database, days)
    now_ms = max(now_ms, _count_stopped(settings, span, database, days))
    for _, value in scan(database, _ACCOUNT, _ACCOUNT_END):
        _count_episodes(orjson.loads(value), span, now_ms, days)
    return {first_ms: day for first_ms, day in days.items() if day.counts.total()}, now_ms


def _fold_presses(settings: Settings, span: Span, database: Rdict, days: dict[int, Day]) -> int:
    """Fold as the gate does, account by account; return the last append time."""
    last_ms = 0
    for message in retained(settings, settings.topic(panic_button.TOPIC), Span(None, span.until_ms)):
        kind, append_ms = message.timestamp()
        press = parse_press(message.key(), message.value(), message.partition() or 0, message.offset() or 0)
        if not isinstance(press, Press) or kind != TIMESTAMP_LOG_APPEND_TIME:
            if isinstance(press, Fault) and _within(span, append_ms):
                days[append_ms // DAY_MS * DAY_MS].counts["presses_without_account"] += 1
            continue
        last_ms = max(last_ms, append_ms)
        pressed = freeze_of_press(settings.policy, press.press_id, press.asked_seconds, append_ms)
        status, left_ms = _fold_into(database, press.account_id, pressed)
        if _within(span, append_ms):
            day = days[append_ms // DAY_MS * DAY_MS]
            day.counts.update({"presses": 1, status: 1})
            if status is Status.EXTENDED and left_ms <= REMINDER_MS:
                day.counts["extended_in_last_hour"] += 1
            if pressed.adjusted is not None:
                day.counts[pressed.adjusted] += 1
            day.windows[str(pressed.applied_seconds)] += 1
    return last_ms


def _fold_into(database: Rdict, account_id: str, pressed: Freeze) -> tuple[Status, int]:
    """Keep an account's episodes: [since, until, first stopped request or null], in ms.

    Return what the press did, and how long the freeze before it had still to go.
    """
    key = _ACCOUNT + account_id.encode()
    stored = database.get(key)
    episodes: list[list[int | None]] = [] if stored is None else orjson.loads(stored)
    current, left_ms = None, 0
    if episodes:
        since_ms, until_ms = episodes[-1][0] or 0, episodes[-1][1] or 0
        current = Freeze(until_ms, "", since_ms, since_ms, None, 0, None)
        left_ms = until_ms - pressed.frozen_since_ms
    freeze, status = fold(current, pressed)
    if status is Status.FROZEN:
        episodes.append([freeze.frozen_since_ms, freeze.frozen_until_ms, None])
    else:
        episodes[-1][:2] = [freeze.frozen_since_ms, freeze.frozen_until_ms]
    database[key] = orjson.dumps(episodes)
    return status, left_ms


def _count_stopped(settings: Settings, span: Span, database: Rdict, days: dict[int, Day]) -> int:
    """Count decisions, those that stopped a frozen account, and note the first of each; return the last append time."""
    last_ms = 0
    names: tuple[set[str], set[str]] = (set(), set())
    for message in retained(settings, settings.topic(withdrawal_decision.TOPIC), span):
        append_ms = message.timestamp()[1]
        last_ms = max(last_ms, append_ms)
        body = parse_object(message.value())
        if isinstance(body, Fault):
            continue
        day = days[append_ms // DAY_MS * DAY_MS]
        day.counts["decided"] += 1
        day.counts["invalid_requests"] += int(body.get("reason") == Reason.INVALID_REQUEST)
        if body.get("reason") != Reason.ACCOUNT_FROZEN:
            continue
        day.counts["stopped_requests"] += 1
        request = body.get("request")
        asked = request if isinstance(request, dict) else {}
        day.kinds[_name(asked.get("kind"), names[0])] += 1
        day.assets[_name(asked.get("asset"), names[1])] += 1
        _note_stopped(database, str(body.get("account_id")), append_ms)
    return last_ms


def _note_stopped(database: Rdict, account_id: str, append_ms: int) -> None:
    key = _ACCOUNT + account_id.encode()
    stored = database.get(key)
    if stored is None:
        return
    episodes = orjson.loads(stored)
    for episode in episodes:
        if episode[0] <= append_ms < episode[1] and (episode[2] is None or append_ms < episode[2]):
            episode[2] = append_ms
            database[key] = orjson.dumps(episodes)


def _count_episodes(episodes: Iterable[list[Any]], span: Span, now_ms: int, days: dict[int, Day]) -> None:
    ended_before_ms = None
    for since_ms, until_ms, stopped_ms in episodes:
        if _within(span, since_ms):
            day = days[since_ms // DAY_MS * DAY_MS]
            over = until_ms <= now_ms
            again = ended_before_ms is not None and since_ms - ended_before_ms < DAY_MS
            day.counts.update({"freezes": 1, "over": int(over), "again_within_a_day": int(again)})
            day.counts["over_without_stopped"] += int(over and stopped_ms is None)
            if stopped_ms is not None:
                day.stopped_after_seconds.append((stopped_ms - since_ms) / 1000)
        ended_before_ms = until_ms


def _within(span: Span, time_ms: int) -> bool:
    return (span.since_ms or 0) <= time_ms and (span.until_ms is None or time_ms < span.until_ms)


def _name(found: object, names: set[str]) -> str:
    """Return a kind or an asset as it may be counted: short text, and not too many different ones."""
    if not isinstance(found, str) or not found.isprintable() or not 1 <= len(found) <= MAX_NAME_CHARACTERS:
        return OTHER
    if found not in names and len(names) >= MAX_NAMES:
        return OTHER
    names.add(found)
    return found


def _shown(counted: Counter[str]) -> dict[str, int]:
    """Return the counts, the small ones together."""
    shown = {name: count for name, count in counted.most_common() if count >= MIN_SHOWN and name != OTHER}
    rest = counted.total() - sum(shown.values())
    return {**shown, OTHER: rest} if rest else shown


def _csv(rows: list[dict[str, Any]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["day", *COUNTS, "median_seconds_to_first_stopped"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
