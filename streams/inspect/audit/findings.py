"""What an audit can find, and how it tells it: a line a finding, then one for all."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.output import emit, harmless

# So many of a kind are shown on a terminal; piped, each is a line.
SHOWN = 20


class Kind(StrEnum):
    """What was found; each is a promise broken, or an output that can't be relied on."""

    REQUEST_WITHOUT_OUTCOME = "request_without_outcome"
    REQUEST_DECIDED_TWICE = "request_decided_twice"
    WITHDRAWAL_DECIDED_TWICE = "withdrawal_decided_twice"
    APPROVED_WHILE_FROZEN = "approved_while_frozen"
    DIFFERS_FROM_RULE = "differs_from_rule"
    REQUEST_ALTERED = "request_altered"
    LEASE_TOO_LONG = "lease_too_long"
    VIEW_RUNS_BACKWARDS = "freeze_view_runs_backwards"
    VIEW_BEYOND_PRESSES = "freeze_view_beyond_presses"
    NO_SUCH_REQUEST = "decision_of_no_request"
    SHADOW_MARK = "shadow_mark_wrong"
    UNREADABLE = "output_unreadable"
    FREEZE_MOVED_EARLIER = "freeze_moved_earlier"
    STATUS_MISSING = "status_missing"
    STATUS_TWICE = "status_twice"
    STATUS_UNFOUNDED = "status_of_no_press"
    LETTER_TWICE = "dead_letter_twice"
    LETTER_ALTERED = "dead_letter_altered"
    LETTER_UNFOUNDED = "dead_letter_unfounded"
    LETTER_MISSING = "dead_letter_missing"


class Unjudged(StrEnum):
    """Why something could not be judged: it is no longer there, or not there yet."""

    REQUEST_GONE = "decisions_whose_request_is_no_longer_retained"
    PRESSES_GONE = "decisions_whose_presses_are_no_longer_retained"
    UNTIMED = "decisions_without_the_brokers_time_of_request_or_press"
    OUTCOME_GONE = "requests_whose_outcome_is_no_longer_retained"
    NOT_DECIDED = "requests_not_decided_yet"
    DUPLICATE = "duplicates_whose_first_decision_is_not_retained_or_not_there_yet"
    LETTER_SOURCE_GONE = "dead_letters_whose_record_is_no_longer_retained"
    PRESS_GONE = "statuses_whose_press_is_no_longer_retained"
    NOT_ANNOUNCED = "presses_not_announced_yet"
    COMPACTED = "statuses_that_compaction_can_have_removed"
    ACCOUNT = "accounts_whose_statuses_were_not_judged"


@dataclass(slots=True)
class Findings:
    """Collects; nothing in it names an account, a withdrawal or an address, only places in topics."""

    found: Counter[Kind] = field(default_factory=Counter)
    audited: Counter[str] = field(default_factory=Counter)
    not_judged: Counter[Unjudged] = field(default_factory=Counter)
    _shown: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: Kind, at: str, detail: str) -> None:
        """Tell what is wrong with the record at a place (`topic:partition:offset`, the topic without prefix)."""
        self.found[kind] += 1
        finding = {"finding": kind, "at": at, "detail": detail}
        if not sys.stdout.isatty():
            emit(finding)
        elif self.found[kind] <= SHOWN:
            self._shown.append(finding)

    def conclude(self, scope: dict[str, Any], seconds: float) -> None:
        """Print what was found in all."""
        summary = {
            **scope,
            "audited": dict(self.audited),
            "not_judged": {str(reason): self.not_judged[reason] for reason in Unjudged if self.not_judged[reason]},
            "findings": {str(kind): self.found[kind] for kind in Kind if self.found[kind]},
            "holds": not self.found,
            "seconds": round(seconds, 1),
        }
        if sys.stdout.isatty():
            self._show(summary)
        else:
            emit(summary)

    def _show(self, summary: dict[str, Any]) -> None:
        console = Console()
        for finding in self._shown:
            line = Text(f"{finding['finding']:28} ", style="bold red")
            line.append(f"{harmless(finding['at'])}  ", style="not bold")
            console.print(line.append(finding["detail"], style="not bold default"), soft_wrap=True)
        table = Table(show_header=False, box=None, pad_edge=False)
        for title in ("audited", "not_judged", "findings"):
            for name, count in summary[title].items():
                more = f" (the first {SHOWN} are above)" if title == "findings" and count > SHOWN else ""
                table.add_row(Text(title.replace("_", " "), style="bold"), name.replace("_", " "), f"{count:,}{more}")
        console.print(table)
        verdict = "nothing was found" if summary["holds"] else f"{self.found.total():,} findings"
        console.print(Text(f"{verdict}, in {summary['seconds']} s", style="green" if summary["holds"] else "bold red"))


def place(topic: str, partition: int, offset: int) -> str:
    """Name a place as `source` and `gate-source` do."""
    return f"{topic}:{partition}:{offset}"
