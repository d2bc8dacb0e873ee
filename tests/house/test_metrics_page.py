"""docs/metrics.md and the README's list of names, held against the one list and against what is exported."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest

from streams.drill import DrillMetrics
from streams.metric_list import DRILL, WORKER
from streams.metrics import Metrics
from tests.tools import tool

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from streams.metric_list import Metric

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
# What other teams' alerts read, to the letter: a name may be added, none of these may go or change.
CONTRACT = {
    "gate_decisions_total": ("decision", "reason"),
    "gate_decision_latency_seconds": (),
    "gate_freeze_latency_seconds": (),
    "gate_barrier_wait_seconds": (),
    "gate_consumer_lag_records": ("topic", "partition"),
    "gate_consumer_lag_seconds": ("topic",),
    "gate_frozen_accounts": (),
    "gate_presses_total": ("adjusted",),
    "gate_dead_letters_total": ("topic", "reason"),
    "gate_transactions_total": ("outcome",),
    "gate_rebalances_total": (),
    "gate_table_restore_remaining_records": (),
    "gate_ready": (),
    "gate_build_info": ("version",),
}
EXPORTED = ((WORKER, Metrics), (DRILL, DrillMetrics))


def row(metric: Metric) -> str:
    """Return a metric's line of the page."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} | {metric.act} |"


def families(registry: CollectorRegistry) -> dict[str, tuple[str, str, set[str]]]:
    """Return type, help text and the labels of the series shown from the start, by the name that a scrape shows."""
    suffixes = {"counter": "_total", "info": "_info"}
    found = {}
    for family in registry.collect():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[family.name + suffixes.get(family.type, "")] = (family.type, family.documentation, labels)
    return found


def test_the_page_is_the_list_line_for_line_in_order() -> None:
    """A metric that nobody explained is a number; one explained otherwise is a trap."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert rows == [row(metric) for metric in (*WORKER, *DRILL)]


@pytest.mark.parametrize(("listed", "made"), EXPORTED)
def test_what_is_exported_is_the_list(listed: tuple[Metric, ...], made: type[Metrics | DrillMetrics]) -> None:
    """Each metric of the list has a collector of its type, text and labels, and there is no other of ours."""
    exported = families(made().registry)
    ours = {name: family for name, family in exported.items() if name.startswith("gate_")}
    assert {name: family[:2] for name, family in ours.items()} == {
        metric.name: (metric.kind, metric.meaning) for metric in listed
    }
    assert len({metric.name for metric in listed}) == len(listed)
    for metric in listed:
        assert ours[metric.name][2] <= set(metric.labels), metric.name
    assert {name for name in exported if name not in ours} <= set(re.findall(r"`(process_\w+)`", PAGE))


def test_the_names_of_the_contract_stay_with_their_labels() -> None:
    """Alerts and dashboards of other teams read them."""
    listed = {metric.name: metric.labels for metric in WORKER}
    assert {name: listed.get(name) for name in CONTRACT} == CONTRACT


def test_every_metric_ends_with_its_unit_and_says_what_to_do() -> None:
    """Base units, last in the name; sentences with a full stop."""
    for metric in (*WORKER, *DRILL):
        unit = metric.unit.split()[:1]
        if unit in (["seconds"], ["bytes"]):
            assert metric.name.endswith(f"_{unit[0]}"), metric.name
        assert metric.meaning.endswith("."), metric.name
        assert metric.act.endswith("."), metric.name


def test_alerts_named_in_the_list_exist() -> None:
    """What to do is a section of the runbook under that heading."""
    headings = set(re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text("utf-8"), re.MULTILINE))
    named = {alert for metric in (*WORKER, *DRILL) for alert in re.findall(r"\bGate[A-Z]\w+", metric.act)}
    assert named
    assert named <= headings


def test_the_readme_names_the_metrics_of_a_worker() -> None:
    """The README has the names and labels in a line, the page all the rest."""
    text = (ROOT / "README.md").read_text("utf-8")
    (section,) = re.findall(r"^### Metrics\n(.*?)^###", text, re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(gate_\w+)(?:\{([\w,]+)\})?`", section)
    assert {name: tuple(filter(None, labels.split(","))) for name, labels in named} == {
        metric.name: metric.labels for metric in WORKER
    }
    assert "](docs/metrics.md)" in section


def test_promtool_finds_no_fault_with_the_metrics_of_a_drill() -> None:
    """A worker's are checked live, in tests/broker; names and texts of a drill's are the same at rest."""
    scraped = generate_latest(DrillMetrics().registry).decode()
    result = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=scraped, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
