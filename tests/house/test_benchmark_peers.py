"""The peers of the benchmark do the gate's job, and are measured alike."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from schemas.withdrawal_decision import encode_decision
from streams.rule import BUILT_IN_POLICY, freeze_of_press
from tests.benchmarks.load import Arrivals, BenchmarkError
from tests.benchmarks.peers import job
from tests.benchmarks.peers.contenders import GATE, PEERS
from tests.benchmarks.peers.table import ratios
from tests.benchmarks.throughput import Run

HERE = Path(__file__).parents[1] / "benchmarks" / "peers"
REQUEST = {"withdrawal_id": "w-1", "account_id": "a", "amount": "1.50"}
PRESSED_MS = 1_790_000_000_000


def test_a_steady_rate_is_found_whatever_the_start_took() -> None:
    """1,000 decisions a second after a start of ten seconds are 1,000 a second."""
    arrivals = Arrivals([10 + second / 10 for second in range(1, 101)], [100 * number for number in range(1, 101)])
    assert arrivals.rate_of_second_half() == pytest.approx(1_000)


def test_decisions_that_show_by_the_commit_are_counted_from_commit_to_commit() -> None:
    """A second's 10,000 decisions show at once, are read in five parts, and the last commit waits for 5,000."""
    at = [second + part / 100 for second in range(10, 30) for part in range(5)]
    arrivals = Arrivals([*at, 30], [*(2_000 * number for number in range(1, 101)), 205_000])
    assert arrivals.rate_of_second_half() == pytest.approx(10_000)


def test_decisions_that_come_at_once_are_no_measurement() -> None:
    """One commit for all would show a rate of the reader, not of the contender."""
    with pytest.raises(BenchmarkError):
        Arrivals([10, 11], [100, 1_000]).rate_of_second_half()


def test_peers_write_the_decision_that_the_gate_writes() -> None:
    """The same fields in the same order, so that as much is encoded, sent and read; freeze_view alone is empty."""
    gates = encode_decision(
        withdrawal_id="w-1",
        account_id="a",
        reason=None,
        frozen_until=None,
        press_id=None,
        decided_at="",
        valid_until="",
        source="withdrawal-request:3:7",
        freeze_view="",
        request=json.dumps(REQUEST).encode(),
    )
    peers = job.decide(None, REQUEST, PRESSED_MS, "3:7")
    assert list(peers) == list(json.loads(gates))
    written = {**json.loads(gates), "decided_at": peers["decided_at"], "valid_until": peers["valid_until"]}
    assert peers == written
    in_java = re.findall(
        r'(?:\.put|decision\.set)\("(\w+)"', (HERE / "Peer.java").read_text().split("JsonNode decide(")[1]
    )
    assert in_java == list(peers)


@pytest.mark.parametrize("asked", [None, 1, 100_000, 10**9])
def test_peers_freeze_for_as_long_as_the_gate(asked: int | None) -> None:
    """A peer that froze for another time would do another job."""
    press = {"account_id": "a", "press_id": "p"} | ({} if asked is None else {"freeze_seconds": asked})
    gates = freeze_of_press(BUILT_IN_POLICY, "p", asked, PRESSED_MS)
    held = job.freeze(None, press, PRESSED_MS, "0:0")
    assert held == [gates.frozen_until_ms, "p"]
    assert job.decide(held, REQUEST, gates.frozen_until_ms - 1, "0:0")["decision"] == "rejected"
    assert job.decide(held, REQUEST, gates.frozen_until_ms, "0:0")["decision"] == "approved"


def test_a_shorter_press_ends_no_freeze_of_a_peer_either() -> None:
    """The later of two ends holds."""
    held = job.freeze(None, {"press_id": "long", "freeze_seconds": 600_000}, PRESSED_MS, "0:0")
    assert job.freeze(held, {"press_id": "short", "freeze_seconds": 86_400}, PRESSED_MS + 1, "0:1") == held


def test_the_gate_is_compared_round_by_round() -> None:
    """A round in which another failed says nothing about the two."""
    rates = {("gate", 1): 300.0, ("other", 1): 100.0, ("gate", 2): 200.0}
    runs = [Run(name, number, 1, rate, 0.0, 0.0) for (name, number), rate in rates.items()]
    assert GATE.name == "gate"
    assert ratios(runs, "other") == [3.0]


def test_what_peers_run_on_is_pinned() -> None:
    """The same versions on every machine, those of what they need in turn, too."""
    found = sorted(HERE.glob("requirements-*.txt"))
    assert [path.name for path in found] == ["requirements-bytewax.txt", "requirements-quix.txt"]
    for path in found:
        assert all(re.match(r"[\w.-]+==[\w.]+( ; .+)?$", line) for line in path.read_text().splitlines()), path
    assert len({peer.name for peer in PEERS}) == len(PEERS)
