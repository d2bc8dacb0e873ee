"""`withdrawal-gate evidence` on a real broker: all of an account, nothing of another, and no change goes unseen."""

from __future__ import annotations

import json
import re
import stat
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from streams.inspect.evidence import FIRST_HASH, next_hash
from tests.pages.reading import harmless_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deployment import Deployment

Lines = list[dict[str, Any]]


@pytest.fixture
def robbed(deploy: Callable[..., Deployment]) -> Deployment:
    """Return a deployment where `acc-1` has pressed twice, asked, and left records that can hardly be read."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    with gate.publisher() as client:
        client.press("acc-1", 86_400, press_id="p-1")
        client.press("acc-1", 172_800, press_id="p-2")
        client.press("acc-2")
        for account in ("acc-1", "acc-2"):
            client.request(account, f"w-{account}", amount="12.5")
            client.request(account, f"w-{account}")
        client.raw("panic-button", b"acc-1", b"\xff\x00", headers=[("made-by", b"\xfe")])
    gate.wait_decided()
    return gate


def test_evidence_holds_all_of_an_account_in_order_and_verifies(robbed: Deployment, tmp_path: Path) -> None:
    """Each record of the account, byte for byte, by append time; the chain can be recomputed by any program."""
    lines = _evidence(robbed, "acc-1")
    records = [line["record"] for line in lines]
    assert records[0]["account_id"] == "acc-1"
    found = [(record["topic"], record["offset"]) for record in records[1:-1]]
    assert len(found) == len(set(found)) == records[-1]["records"]
    topics = [topic for topic, _ in found]
    # The presses of acc-1, the last without a readable value; its two requests, of which one is a duplicate.
    assert (topics.count("panic-button"), topics.count("withdrawal-request")) == (3, 2)
    assert (topics.count("withdrawal-decision"), topics.count("freeze-status")) == (1, 3)
    assert topics.count("dead-letter") == 2
    assert all("acc-2" not in json.dumps(record) for record in records)
    times = [record["appended_at"] for record in records[1:-1]]
    assert times == sorted(times)
    unreadable = next(r for r in records[1:-1] if r["topic"] == "panic-button" and "base64" in r["value"])
    assert unreadable["value"] == {"base64": "/wA="}
    assert unreadable["headers"] == [["made-by", {"base64": "/g=="}]]
    before = FIRST_HASH
    for line in lines:
        text = json.dumps(line["record"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        before = sha256(f"{before}\n{text}".encode()).hexdigest()
        assert line["hash"] == before
    done = robbed.command("evidence", "--verify", _write(tmp_path, lines))
    assert (done.returncode, json.loads(done.stdout)["holds"]) == (0, True)


def test_the_page_has_the_hashes_of_the_lines_and_is_for_its_owner_only(robbed: Deployment, tmp_path: Path) -> None:
    """Both come of one reading; a page that can't be written is refused before a line is printed."""
    path = tmp_path / "evidence.html"
    lines = _evidence(robbed, "acc-1", "--html", str(path))
    html = path.read_text()
    harmless_page(html)
    assert re.findall(r"<code>([0-9a-f]{64})</code>", html) == [line["hash"] for line in lines[1:]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    refused = robbed.command("evidence", "acc-1", "--html", "/nowhere/evidence.html")
    assert (refused.returncode, refused.stdout, "--html is" in refused.stderr) == (2, "", True)
    assert robbed.command("evidence", "--html", str(path), "--verify", _write(tmp_path, lines)).returncode == 2


def test_evidence_that_was_changed_in_any_way_does_not_hold(robbed: Deployment, tmp_path: Path) -> None:
    """Changed, left out, moved, cut off; and with a chain made anew, which only the topics can convict."""
    lines = _evidence(robbed, "acc-1")
    amount = json.loads(json.dumps(lines).replace("12.5", "99.5"))
    for found, forged in (
        ("does not follow", amount),
        ("does not follow", lines[:3] + lines[4:]),
        ("does not follow", [*lines[:2], lines[3], lines[2], *lines[4:]]),
        ("last line is missing", lines[:-1]),
        ("holds another record", _chained_anew(amount)),
        ("not in the evidence", _chained_anew([*lines[:3], *lines[4:]])),
        ("holds no such record", _chained_anew([*lines[:2], _elsewhere(lines[1], offset=1_000), *lines[2:]])),
        ("holds no such record", _chained_anew([*lines[:2], _elsewhere(lines[1], partition=99), *lines[2:]])),
        ("there twice", _chained_anew([*lines[:2], lines[1], *lines[2:]])),
        ("not in the order", _chained_anew([lines[0], lines[2], lines[1], *lines[3:]])),
        ("does not say where", _chained_anew([*lines[:2], _elsewhere(lines[1], topic="elsewhere"), *lines[2:]])),
    ):
        done = robbed.command("evidence", "--verify", _write(tmp_path, forged))
        assert done.returncode == 1, found
        findings = [json.loads(line).get("finding", "") for line in done.stdout.splitlines()]
        assert any(found in finding for finding in findings), (found, findings)


def test_evidence_of_a_span_leaves_the_rest_out(robbed: Deployment, tmp_path: Path) -> None:
    """Nothing lies before 2001; what is no time is refused with what is allowed."""
    lines = _evidence(robbed, "acc-1", "--until", "2001-01-01T00:00:00Z")
    assert [lines[-1]["record"], len(lines)] == [{"records": 0}, 2]
    assert robbed.command("evidence", "--verify", _write(tmp_path, lines)).returncode == 0
    wrong = robbed.command("evidence", "acc-1", "--since", "yesterday")
    assert (wrong.returncode, "--since is 'yesterday'" in wrong.stderr) == (2, True)
    assert robbed.command("evidence").returncode == 2
    (tmp_path / "text").write_text("no evidence")
    assert robbed.command("evidence", "--verify", str(tmp_path / "text")).returncode == 2


def _evidence(gate: Deployment, *arguments: str) -> Lines:
    done = gate.command("evidence", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _write(folder: Path, lines: Lines) -> str:
    path = folder / "evidence.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def _chained_anew(lines: Lines) -> Lines:
    """Return the lines as somebody would forge them who knows how the chain is made."""
    records = [line["record"] for line in lines[:-1]] + [{"records": len(lines) - 2}]
    forged, before = [], FIRST_HASH
    for record in records:
        before = next_hash(before, record)
        forged.append({"hash": before, "record": record})
    return forged


def _elsewhere(line: dict[str, Any], **place: object) -> dict[str, Any]:
    return {**line, "record": {**line["record"], **place}}
