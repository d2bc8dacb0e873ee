"""What runs wrote down, a JSON line each, as the table of docs/chaos.md."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

# Every run that counts. A line may stand for several runs that were only written down together (`runs`).
RESULTS = Path(__file__).parent / "results.jsonl"
HEAD = """\
| worker | runs | seconds | requests | faults | ended by themselves, with exit code | runs with findings |
|---|---|---|---|---|---|---|"""


def table(results: Path) -> str:
    """Return a results file as a Markdown table, one row for each worker module."""
    by_module: dict[str, list[dict[str, Any]]] = {}
    for line in results.read_text("utf-8").splitlines():
        one = json.loads(line)
        by_module.setdefault(one["module"], []).append(one)
    return "\n".join([HEAD, *(_row(module, runs) for module, runs in sorted(by_module.items()))])


def _row(module: str, runs: list[dict[str, Any]]) -> str:
    count = sum(one.get("runs", 1) for one in runs)
    seconds = sum(one["seconds"] for one in runs)
    requests = sum(one["counts"].get("requests", 0) for one in runs)
    found = sum(bool(one["findings"]) for one in runs)
    faults, ends = _total(runs, "faults"), _total(runs, "ends")
    return f"| `{module}` | {count} | {seconds:,.0f} | {requests:,} | {faults} | {ends or 'none noted'} | {found} |"


def _total(runs: list[dict[str, Any]], what: str) -> str:
    total: Counter[str] = Counter()
    for one in runs:
        total.update(one.get(what, {}))
    return ", ".join(
        f"{name} {count}" if what == "faults" else f"{count} with {name}" for name, count in sorted(total.items())
    )
