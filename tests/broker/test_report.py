"""`withdrawal-gate report` on a real broker: right figures, and nothing about anybody."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from streams.inspect.page import STYLE
from tests.pages.reading import harmless_page
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deployment import Deployment

HOSTILE = '<script>"\x1b[31m'


def test_the_report_counts_presses_freezes_and_what_they_stopped(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """Six freezes stop a request, one is an accident that is over by now, one is extended, one hits the bounds."""
    gate = deploy()
    gate.create_topics()
    gate.policy(minimum=1, default=2, maximum=604_800)
    gate.worker().wait_ready()
    with gate.publisher() as client:
        for number in range(6):
            client.press(f"acc-{number}", 86_400)
            client.request(f"acc-{number}", kind="chain", asset="USDT")
            client.request(f"acc-{number}", kind=HOSTILE, asset=["BTC"])
        client.press("acc-0", 172_800)
        client.press("acc-0", 3_600)
        accident = client.press("accident", 1)
        client.press("greedy", 10**9)

        def over() -> bool:
            probe = client.request("free")
            client.press("clock")
            return probe.append_ms > accident.append_ms + 1_000

        wait_for(over, "the accident's freeze to end")
    gate.wait_decided()
    clocks = sum(press.account_id == "clock" for press in gate.history.presses)
    path, page = tmp_path / "report.csv", tmp_path / "report.html"
    done = gate.command("report", "--csv", str(path), "--html", str(page))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    total = rows[-1]
    assert (total["day"], total["presses"]) == ("all", 10 + clocks)
    assert (total["extended"], total["lowered"], total["defaulted"]) == (1 + _extended(gate), 1, clocks)
    assert total["extended_in_last_hour"] == _extended(gate)
    assert (total["stopped_requests"], total["stopped_kinds"]) == (12, {"chain": 6, "other": 6})
    assert total["stopped_assets"] == {"USDT": 6, "other": 6}
    assert total["over_without_stopped"] >= 1
    assert total["median_seconds_to_first_stopped"] >= 0
    assert total["windows_seconds"]["86400"] == 6
    assert all(name in {"86400", "2", "other"} for name in total["windows_seconds"])
    assert sum(row["presses"] for row in rows[:-1]) == total["presses"]
    text = harmless_page(page.read_text()).text.replace(STYLE, "")
    assert f"{total['presses']:,}" in text
    for told in (done.stdout, path.read_text(), text):
        assert not any(secret in told for secret in ("acc-", "accident", "greedy", "script", "w-", "BTC"))
    written = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["presses"] for row in written] == [str(row["presses"]) for row in rows]


def test_the_report_of_a_span_leaves_the_rest_out(deploy: Callable[..., Deployment]) -> None:
    """Before 2001 nobody pressed; a time that is none and a file that can't be written are refused."""
    gate = deploy()
    gate.create_topics()
    with gate.publisher() as client:
        client.press("acc-1")
    done = gate.command("report", "--until", "2001-01-01T00:00:00Z")
    assert (done.returncode, [json.loads(line)["presses"] for line in done.stdout.splitlines()]) == (0, [0])
    assert gate.command("report", "--since", "soon").returncode == 2
    for option in ("--csv", "--html"):
        assert f"{option} is" in gate.command("report", option, "/nowhere/report").stderr


def _extended(gate: Deployment) -> int:
    """Return how often the account that only tells the time moved its own end: as freeze-status says."""
    statuses = gate.values("freeze-status")
    return sum(status["account_id"] == "clock" and status["status"] == "extended" for status in statuses)
