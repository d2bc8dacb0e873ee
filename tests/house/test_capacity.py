"""docs/capacity.md, held against `withdrawal-gate size` and the figures that it reckons with."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams import capacity
from streams.cli import main
from streams.size import Load, size

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "capacity.md").read_text("utf-8")
COMMANDS = re.findall(r"^withdrawal-gate (size [^#\n]*[^#\s])", PAGE, re.MULTILINE)
USUAL = Load(1_000_000, 100, 1_000_000, 20, 30, 3_600, 14 * 86_400_000)
# What grows with a load; brokers and their settings do not.
GROWING = (
    "partitions", "workers", "worker_memory_mb", "worker_disk_gb", "freezes", "rebuild_seconds",
    "storm_behind_seconds", "broker_disk_gb", "broker_in_mb_per_second", "broker_out_mb_per_second",
)  # fmt: skip


def rows_below(header: str) -> list[list[str]]:
    """Return the cells of the table that begins with that header."""
    lines = PAGE.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(header)) + 2
    last = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:last]]


def ran(command: str, **environment: str) -> dict[str, Any]:
    """Return what the command prints."""
    result = CliRunner(env={"GATE_DUPLICATE_SECONDS": "", "GATE_POLICY": "", **environment}).invoke(
        main, command.split()
    )
    assert result.exit_code == 0, result.output
    printed: dict[str, Any] = json.loads(result.output)
    return printed


def test_the_page_shows_what_the_command_prints() -> None:
    """Each number of the worked examples, for each of the commands."""
    printed = [ran(command) for command in COMMANDS]
    assert len(printed) == 4
    documented = {name.strip("`"): cells for name, *cells in rows_below("| field |")}
    expected = {
        name: [f"{one[name]:,}" for one in printed]
        for name, value in printed[0].items()
        if isinstance(value, int | float)
    }
    assert documented == expected


def test_the_page_shows_the_settings_and_the_topics_command() -> None:
    """For each of the examples."""
    for command in COMMANDS:
        printed = ran(command)
        assert f"`{printed['topics']}`" in PAGE
        for setting, value in printed["broker_settings"].items():
            assert f"`{setting}={value}`" in PAGE


def test_the_page_shows_every_figure_with_its_source() -> None:
    """None is missing, none is another one."""
    declared = [[one.name, f"{one.value:,}", one.unit, one.source] for one in capacity.FIGURES]
    assert rows_below("| figure |") == declared
    assert list(capacity.FIGURES) == [one for one in vars(capacity).values() if isinstance(one, capacity.Figure)]


def test_a_figure_is_measured_by_something_that_is_there_or_says_that_it_is_assumed() -> None:
    """A number without a source is none."""
    for one in capacity.FIGURES:
        assert one.source.startswith((capacity.ASSUMED, capacity.THROUGHPUT, capacity.FOOTPRINT)), one
    assert (ROOT / "tests" / "benchmarks" / "footprint.py").is_file()


def test_the_figures_from_the_readme_are_those_of_the_readme() -> None:
    """A new measurement there has to change them here."""
    (row,) = re.findall(r"^\| gate, one worker \|(.*)\|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    _, least, _, _, resident = (cell.strip().replace(",", "") for cell in row.split("|"))
    assert (float(least), float(resident)) == (capacity.DECISION_RATE.value, capacity.WORKER_MEMORY.value)


@pytest.mark.parametrize("grown", [name for name in Load.__dataclass_fields__ if name != "users"])
@pytest.mark.parametrize("times", [1, 10, 1_000, 100_000])
def test_more_of_anything_never_needs_less(grown: str, times: int) -> None:
    """Whatever grows, nothing that it needs shrinks."""
    before = size(replace(USUAL, users=10**9, **{grown: getattr(USUAL, grown) * times}))
    after = size(replace(USUAL, users=10**9, **{grown: getattr(USUAL, grown) * times * 2}))
    assert [name for name in GROWING if after[name] < before[name]] == []


def test_workers_that_a_storm_keeps_busy_are_made_up_for() -> None:
    """Half of each worker's time gone, twice as many are needed, beside the spare one."""
    calm = replace(USUAL, requests_per_second=1_000_000, storm_presses_per_second=0)
    storm = replace(calm, storm_presses_per_second=round(capacity.FOLLOW_RATE.value / 2))
    spare = int(capacity.SPARE_WORKERS.value)
    needed = [size(load)["workers"] - spare for load in (calm, storm)]
    assert needed[0] == pytest.approx(1_000_000 / capacity.DECISION_RATE.value / capacity.LOAD.value, abs=1)
    assert needed[1] == pytest.approx(2 * needed[0], abs=1)


def test_a_storm_that_no_worker_can_follow_says_how_long_approvals_wait() -> None:
    """Twice the rate that a worker follows leaves as much to follow as the storm took."""
    storm = replace(USUAL, storm_presses_per_second=round(capacity.FOLLOW_RATE.value * 2))
    assert size(storm)["storm_behind_seconds"] == capacity.STORM_SECONDS.value
    assert size(USUAL)["storm_behind_seconds"] == 0


def test_what_is_told_takes_the_place_of_what_is_assumed() -> None:
    """Nought is told, too."""
    printed = ran("size 300 --presses 0 --requests 7 --storm 0 --days 3")
    told = ("presses_per_day", "requests_per_second", "storm_presses_per_second", "retention_days")
    assert [printed[name] for name in told] == [0, 7, 0, 3]


def test_a_longer_window_of_the_policy_keeps_more_presses(tmp_path: Path) -> None:
    """With 90 days, 97 days of presses are in the topic and in the table."""
    policy = tmp_path / "policy.json"
    bounds = {"min_seconds": 86_400, "default_seconds": 172_800, "max_seconds": 90 * 86_400}
    policy.write_text(json.dumps([{"effective_from": "2026-01-01T00:00:00Z", **bounds}]), "utf-8")
    printed = ran("size 1000000 --presses 100 --storm 0", GATE_POLICY=str(policy))
    assert printed["freezes"] == 97 * 100
    assert printed["broker_settings"]["offsets.retention.minutes"] == str(97 * 24 * 60)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [("", "USERS"), ("0", "USERS"), ("1.5", "USERS"), ("5 --storm -1", "--storm"), ("5 --days 0", "--days")],
)
def test_a_wrong_load_is_refused_by_name(wrong: str, named: str) -> None:
    """Exit code 2, and the argument with what is allowed."""
    result = CliRunner().invoke(main, ["size", *wrong.split()])
    assert result.exit_code == 2
    assert named in result.output.splitlines()[-1]
