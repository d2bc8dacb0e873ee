"""The Grafana dashboard and how it is provisioned: what no Grafana runs here to tell."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.drill import DrillMetrics
from tests.deploy.promql import exported, metrics_of
from tests.tools import tool

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "monitoring" / "grafana"
DASHBOARD = GRAFANA / "withdrawal-gate.json"
QUESTIONS = ["Are freezes in force?", "Are decisions flowing?", "Which partition, which worker, since when?"]
# What a query may hold in place of a number or a value; Grafana fills it in.
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$job": ".+", "$instance": ".+", "$drill": ".+"}
COLUMNS = 24


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Return every query as Prometheus gets it."""
    found = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    for name, value in VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    return found


def test_the_rows_are_the_questions_asked_at_night(dashboard: dict[str, Any]) -> None:
    """Whoever is woken reads from top to bottom, and each question has panels below it."""
    kinds = [panel["type"] == "row" for panel in sorted(dashboard["panels"], key=lambda panel: panel["gridPos"]["y"])]
    assert [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"] == QUESTIONS
    assert kinds[0]
    assert not kinds[-1]
    assert (True, True) not in set(pairwise(kinds))


def test_every_panel_has_title_description_and_unit(dashboard: dict[str, Any]) -> None:
    """A curve without a unit or a meaning is guessed at."""
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"s", "short", "cps", "bytes"}, panel["title"]
        assert panel["targets"], panel["title"]
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)


def test_no_panel_covers_another(dashboard: dict[str, Any]) -> None:
    """Each cell of the grid belongs to one panel, and none lies outside of it."""
    cells = [
        (place["x"] + right, place["y"] + down)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for right in range(place["w"])
        for down in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < COLUMNS
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_query_asks_the_chosen_source_for_the_chosen_workers(dashboard: dict[str, Any]) -> None:
    """Nothing is tied to one Prometheus, one job or one worker, and nobody changes a provisioned dashboard by hand."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(dashboard):
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            # A drill is a job of its own, and no worker.
            chosen = 'job=~"$drill"' if "gate_drill_" in target["expr"] else 'job=~"$job", instance=~"$instance"'
            selected = len(re.findall(r"\{" + re.escape(chosen), target["expr"]))
            assert selected == len(re.findall(r"\{", target["expr"])) > 0, target["expr"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance", "drill"]
    assert all(variables[name]["datasource"] == source for name in ("job", "instance", "drill"))
    assert dashboard["editable"] is False


def test_every_metric_of_the_dashboard_is_exported(dashboard: dict[str, Any]) -> None:
    """A misspelt metric is an empty panel, which looks like a quiet night."""
    asked = [metrics_of(query) for query in queries(dashboard)]
    assert all(asked)
    listed = re.findall(r"label_values\((\w+)", str(dashboard["templating"]))
    assert {name for names in asked for name in names} | set(listed) <= exported()


def test_the_dashboard_shows_the_drill_and_turns_red_with_its_alert(dashboard: dict[str, Any]) -> None:
    """Every metric of the drill has its panel, and the time that its alert allows is where the panel turns red."""
    shown = {name for query in queries(dashboard) for name in metrics_of(query)}
    families = {family.name for family in DrillMetrics().registry.collect()}
    assert {family for family in families if not any(name.startswith(family) for name in shown)} == set()
    (panel,) = (panel for panel in panels(dashboard) if "gate_drill_last_kept" in panel["targets"][0]["expr"])
    alerts = (ROOT / "deploy" / "monitoring" / "alerts.yml").read_text("utf-8")
    (allowed,) = re.findall(r"max\(gate_drill_last_kept_timestamp_seconds\) > (\d+)", alerts)
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1] == {"color": "red", "value": int(allowed)}


def test_prometheus_can_read_every_query(dashboard: dict[str, Any], tmp_path: Path) -> None:
    """Each is checked as if it were a recording rule, counters by rate or increase only."""
    rules = [{"record": f"panel:query:{place}", "expr": query} for place, query in enumerate(queries(dashboard))]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), "utf-8")
    result = subprocess.run(
        [tool("promtool"), "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for query in queries(dashboard):
        # Its series begin with their first record, which rate() takes for no change: so what is shown is the count.
        if "gate_dead_letters_total" in query:
            continue
        for counter in re.findall(r"\w+_(?:total|bucket)\b", query):
            assert re.search(rf"(rate|increase)\({counter}\{{", query), query


def test_grafana_finds_the_dashboard_and_prometheus_where_compose_puts_them() -> None:
    """Paths and names of the provisioning files are those of docker-compose.yml."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    mounts = [volume.split(":") for volume in services["grafana"]["volumes"] if volume.startswith("./")]
    mounts += [volume.split(":") for volume in services["prometheus"]["volumes"] if volume.startswith("./")]
    assert all((ROOT / source).exists() and options == "ro" for source, _, options in mounts)
    inside = {target for _, target, _ in mounts}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/withdrawal-gate.yml").read_text("utf-8"))[
        "providers"
    ]
    assert f"{provider['options']['path']}/{DASHBOARD.name}" in inside
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in inside
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    jobs = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text("utf-8"))["scrape_configs"]
    workers, drills = (job["static_configs"][0]["targets"] for job in jobs)
    assert workers == [f"{name}:8080" for name in services if name.startswith("gate-")]
    assert drills == [f"drill:{services['drill']['command'][-1].rpartition(':')[2]}"]
