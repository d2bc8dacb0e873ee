"""The alert rules, held against the metrics, the runbook and their own cases, by the tool that Prometheus brings."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import panic_button, withdrawal_request
from schemas.wire import FaultReason
from streams.cli import main
from streams.drill import Ended
from streams.metrics import LATENCY_BUCKETS_SECONDS
from streams.settings import Settings
from tests.deploy.promql import FROM_ELSEWHERE, exported, metrics_of
from tests.tools import tool

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOK = "docs/runbook.md"
# What each section answers, in this order or with two of them in one.
QUESTIONS = ("**to customers:**", "**how to tell", "do:**", "**don't:**")
# And each section of a change, in this order.
STEPS = ["Before", "Do", "Done when", "Don't"]


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    """Return every alert rule."""
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
    assert len(found) > 5
    return found


def sections() -> dict[str, str]:
    """Return the sections of the runbook by their anchor, as GitHub and GitLab make it from a heading."""
    parts = re.split(r"^#+ (.+)$", (ROOT / RUNBOOK).read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"): text
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def promtool(*arguments: str) -> None:
    """Run it on the files of deploy/monitoring; what it prints is the test's message."""
    result = subprocess.run([tool("promtool"), *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_takes_the_rules_and_its_configuration() -> None:
    """Both are read as Prometheus reads them, the rules from where the configuration names them."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")


def test_every_case_of_firing_and_silence_comes_out_as_written() -> None:
    """Times, thresholds and labels of each rule, tried on series that rise, stop, restart and vanish."""
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_has_a_case_that_fires_at_each_severity_and_one_that_stays_silent(
    rules: list[dict[str, Any]],
) -> None:
    """A rule that was never seen to fire may never fire, and one that was never seen silent may never stop."""
    fires, silent = set(), set()
    for case in yaml.safe_load((MONITORING / "alerts_test.yml").read_text("utf-8"))["tests"]:
        severities: set[str] = set()
        (alert,) = {re.findall(r'alertname="(\w+)"', check["expr"])[0] for check in case["promql_expr_test"]}
        for check in case["promql_expr_test"]:
            severities.update(re.findall(r'severity="(\w+)"', str(check["exp_samples"])))
        fires |= {(alert, severity) for severity in severities}
        if not severities:
            silent.add(alert)
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in rules}
    assert silent == {rule["alert"] for rule in rules}


def test_every_metric_of_the_rules_is_exported(rules: list[dict[str, Any]]) -> None:
    """A misspelt metric has no series, and an alert on it never fires."""
    read = {rule["alert"]: metrics_of(rule["expr"]) for rule in rules}
    assert all(read.values())
    assert {name for names in read.values() for name in names} - exported() <= FROM_ELSEWHERE


def test_topics_reasons_job_and_bounds_of_the_rules_exist(rules: list[dict[str, Any]]) -> None:
    """A value that no series carries matches nothing, and says nothing."""
    text = " ".join(rule["expr"] for rule in rules)
    assert set(re.findall(r'topic="([^"]+)"', text)) == {panic_button.TOPIC, withdrawal_request.TOPIC}
    reasons = {reason for found in re.findall(r'reason=~"([^"]+)"', text) for reason in found.split("|")}
    assert reasons == {FaultReason.UNREADABLE, FaultReason.NO_ACCOUNT}
    assert {int(bound) for bound in re.findall(r'le=~"(\d+)\(', text)} == {5, 30} <= set(LATENCY_BUCKETS_SECONDS)
    jobs = [
        job["job_name"] for job in yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    ]
    assert set(re.findall(r'job="([^"]+)"', text)) == {jobs[0]}
    assert set(re.findall(r'ended="([^"]+)"', text)) == {Ended.BROKEN}


def test_every_alert_says_what_is_wrong_and_where_to_read_on(rules: list[dict[str, Any]]) -> None:
    """Severity, summary, description and a section of the runbook of that name, which answers four questions."""
    found = sections()
    for rule in rules:
        name, annotations = rule["alert"], rule["annotations"]
        assert rule["labels"].keys() == {"severity"}, name
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert annotations.keys() == {"summary", "description", "runbook_url"}, name
        assert all(text.endswith(".") for key, text in annotations.items() if key != "runbook_url"), name
        assert annotations["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
        assert name.lower() in found, name
        assert [question for question in QUESTIONS if question not in found[name.lower()].lower()] == [], name


def test_every_change_says_what_comes_before_what_to_do_when_it_is_done_and_what_not_to_do() -> None:
    """The changes that are made on purpose, or forced upon whoever is on call, each with the same four steps."""
    changes = (ROOT / RUNBOOK).read_text("utf-8").partition("\n## Changes\n")[2]
    found = dict(re.findall(r"^### (.+)\n((?:(?!### ).*\n)+)", changes, re.MULTILINE))
    assert len(found) == changes.count("\n### ") > 5
    for name, text in found.items():
        assert re.findall(r"^\*\*([^*]+):\*\*", text, re.MULTILINE) == STEPS, name


def test_what_an_alert_says_names_nobody(rules: list[dict[str, Any]]) -> None:
    """Alerts travel by mail and chat: place, topic, reason and value, never a label that could carry an id."""
    allowed = {"$labels.instance", "$labels.topic", "$labels.reason", "$labels.mountpoint", "$value"}
    for rule in rules:
        used = re.findall(r"\{\{ *([^ }]+)[^}]*\}\}", " ".join(rule["annotations"].values()))
        assert set(used) <= allowed, rule["alert"]


def test_every_link_of_the_runbook_leads_somewhere() -> None:
    """Files exist, and anchors are headings of the file that they name."""
    known = {"": sections().keys(), "../README.md": readme_anchors(), "failures.md": anchors("docs/failures.md")}
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / RUNBOOK).read_text("utf-8")):
        path, _, anchor = link.partition("#")
        assert ((ROOT / RUNBOOK).parent / path).exists(), link
        assert not anchor or anchor in known[path], link


def test_metrics_settings_and_commands_of_the_runbook_exist() -> None:
    """What is typed at three in the morning works, and what is looked for is there."""
    text = (ROOT / RUNBOOK).read_text("utf-8")
    assert set(re.findall(r"\bgate_\w+", text)) <= exported()
    assert set(re.findall(r"\bGATE_\w+", text)) <= {setting.metadata["name"] for setting in fields(Settings)}
    typed = set(re.findall(r"`withdrawal-gate ([a-z]+)", text))
    assert typed
    assert typed <= main.commands.keys()


def readme_anchors() -> set[str]:
    """Return the anchors of README.md."""
    return anchors("README.md")


def anchors(path: str) -> set[str]:
    """Return the anchors of a page."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
