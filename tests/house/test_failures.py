"""docs/failures.md, held against the tests, alerts, metrics, checks, reasons and exit codes that it names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

from schemas.wire import FaultReason
from streams.health import CHECKS
from tests.deploy.promql import exported
from tests.deploy.test_alerts import readme_anchors, sections
from tests.house.test_readme import cells

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "failures.md"
HEADER = ("what breaks", "who has pressed", "withdrawals", "the operator sees", "what brings it back", "tested in")


@cache
def page() -> str:
    """Return the page's text."""
    return PAGE.read_text("utf-8")


def rows() -> list[tuple[str, ...]]:
    """Return the rows of all tables."""
    found = [cells(line) for line in page().splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [row for row in found if row != HEADER]


def test_every_failure_is_answered_in_full() -> None:
    """Six cells each; a row that no test breaks on purpose says so."""
    assert len(rows()) > 30
    assert page().count(f"| {' | '.join(HEADER)} |") == len(re.findall(r"^\|---", page(), re.MULTILINE))
    for row in rows():
        assert len(row) == len(HEADER), row
        assert all(row), row
        assert row[-1].startswith("not tested") or re.match(r"`test_\w+`", row[-1]), row


def test_every_test_of_the_failures_exists() -> None:
    """Whoever doubts a row can run what it names."""
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page())
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_every_alert_stands_at_a_failure_and_leads_into_the_runbook() -> None:
    """An alert without a failure would be about nothing, one without its section of no help."""
    groups = yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    linked = re.findall(r"\[(Gate\w+)\]\(runbook\.md#(\w+)\)", page())
    assert {alert for alert, _ in linked} == alerts == set(re.findall(r"\bGate[A-Z]\w+", page()))
    assert all(anchor == alert.lower() for alert, anchor in linked)


def test_every_link_of_the_failures_leads_somewhere() -> None:
    """Pages exist, and anchors are headings of theirs."""
    anchors = {"runbook.md": set(sections()), "../README.md": readme_anchors()}
    for link in re.findall(r"\]\(([^)]+)\)", page()):
        path, _, anchor = link.partition("#")
        assert (PAGE.parent / path).exists(), link
        assert not anchor or anchor in anchors[path], link


def test_metrics_checks_reasons_and_exit_codes_of_the_failures_are_all_there() -> None:
    """What is looked for exists; each check, reason and exit code that can be met stands at some failure."""
    metrics = {re.sub(r"_bucket$", "", name) for name in exported()}
    assert set(re.findall(r"`(gate_\w+)`", page())) <= metrics
    ticked = set(re.findall(r"`([a-z_]+)`", page()))
    assert {*CHECKS, *FaultReason} <= ticked
    assert set(re.findall(r"exit code (\d)", page())) == {"1", "2", "3", "4"}
