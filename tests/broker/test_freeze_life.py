"""G2, G3 and freeze-status on a real broker: a freeze is extended, never shortened, and ends by itself."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from schemas.wire import parse_rfc3339
from streams.judge import judge
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment, Publisher


def test_a_freeze_outlasts_restarts_after_which_nobody_pressed(deploy: Callable[..., Deployment]) -> None:
    """The same folder again and again, and no press to tell the worker the time: the freeze is still in the table."""
    gate = deploy(partitions=2)
    gate.create_topics()
    with gate.publisher() as client:
        client.press("acc")
        for life in range(3):
            worker = gate.worker("one").wait_ready()
            client.request("acc", f"in-life-{life}")
            gate.wait_decided()
            assert worker.get("/freezes/acc")[0] == 200
            assert worker.stop() == 0
    assert judge(gate.history).findings == []
    assert {decision["decision"] for decision in gate.decisions().values()} == {"rejected"}


def test_a_freeze_ends_by_itself_and_ended_is_published_once(deploy: Callable[..., Deployment]) -> None:
    """A policy of seconds: rejected while frozen, approved after the end, `ended` once though workers change."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.policy(minimum=3, default=3)
    worker = gate.worker("one").wait_ready()
    with gate.publisher() as client:
        client.press("acc", 3)
        client.request("acc", "during")
        gate.wait_decided()
        until_ms = parse_rfc3339(gate.decisions()["during"]["frozen_until"])
        wait_for(lambda: "ended" in _statuses(gate), "the end to be announced")
        probe = _request_after(gate, client, until_ms)
        gate.wait_decided()
        assert worker.stop() == 0
        gate.worker("two").wait_ready()
        client.request("acc", "later")
        client.press("other", 3)
        wait_for(lambda: _statuses(gate)["ended"] == 2, "the other account's end to be announced")
        gate.wait_decided()
    decisions = gate.decisions()
    assert decisions["during"]["decision"] == "rejected"
    assert decisions[probe]["decision"] == "approved"
    assert decisions["later"]["decision"] == "approved"
    assert _statuses(gate) == {"frozen": 2, "ended": 2}
    assert worker.get("/freezes/acc")[0] == 0


def test_a_longer_press_extends_and_nothing_shortens(deploy: Callable[..., Deployment]) -> None:
    """Re-press longer, re-press shorter, tombstone, the same record again: the end only ever moves later."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    ends: list[int] = []

    def end_now() -> int:
        name = client.request("acc").withdrawal_id
        gate.wait_decided()
        return parse_rfc3339(gate.decisions()[name]["frozen_until"])

    with gate.publisher() as client:
        client.press("acc", 172_800, press_id="first")
        ends.append(end_now())
        client.press("acc", 604_800, press_id="longer")
        ends.append(end_now())
        client.press("acc", 86_400, press_id="shorter")
        ends.append(end_now())
        client.raw("panic-button", b"acc", None)
        client.press("acc", 0, press_id="zero")
        ends.append(end_now())
        assert worker.stop() == 0
        gate.worker("two", GATE_POLICY=_tighter_policy(gate)).wait_ready()
        ends.append(end_now())
    assert ends[1] > ends[0]
    assert ends[1:] == [ends[1]] * 4
    statuses = [status for status in gate.values("freeze-status") if status["account_id"] == "acc"]
    assert [status["status"] for status in statuses] == ["frozen", "extended", "unchanged", "unchanged", "unchanged"]
    assert [status["adjusted"] for status in statuses] == [None, None, None, "defaulted", "raised"]
    assert [status["applied_seconds"] for status in statuses] == [172_800, 604_800, 86_400, 172_800, 86_400]
    assert {status["frozen_since"] for status in statuses} == {statuses[0]["frozen_since"]}
    assert judge(gate.history).findings == []


def test_each_press_is_announced_once_though_workers_are_killed(deploy: Callable[..., Deployment]) -> None:
    """2,000 presses while one announcer is killed -9 and another takes over: a status for each, none twice."""
    gate = deploy(partitions=3)
    gate.create_topics()
    first = gate.worker().wait_ready()
    with gate.publisher() as client:
        for number in range(2_000):
            client.send_press(f"acc-{number}", press_id=f"p-{number}")
            if number == 500:
                client.flush()
                wait_for(lambda: first.metric('gate_presses_total{adjusted="defaulted"}') > 0, "a first announcement")
                first.kill()
                gate.worker().wait_ready()
    wait_for(lambda: _statuses(gate)["frozen"] >= 2_000, "every press to be announced")
    announced = Counter(status["press_id"] for status in gate.values("freeze-status"))
    assert set(announced.values()) == {1}
    assert len(announced) == 2_000


def test_a_press_keeps_the_window_that_it_got_when_the_policy_changes(deploy: Callable[..., Deployment]) -> None:
    """A policy entry in force from the year 2100 changes no press of today, on a rebuilt folder either."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    with gate.publisher() as client:
        client.press("acc", None)
        client.request("acc", "before")
        gate.wait_decided()
        assert worker.stop() == 0
        gate.worker("two", GATE_POLICY=_tighter_policy(gate)).wait_ready()
        client.request("acc", "after")
        gate.wait_decided()
    decisions = gate.decisions()
    assert decisions["before"]["frozen_until"] == decisions["after"]["frozen_until"]


def _statuses(gate: Deployment) -> Counter[str]:
    found: list[dict[str, Any]] = gate.values("freeze-status")
    return Counter(status["status"] for status in found)


def _request_after(gate: Deployment, client: Publisher, until_ms: int) -> str:
    """Ask until a request was appended after the end; return its id."""

    def asked() -> str | None:
        request = client.request("acc", f"probe-{len(gate.history.requests)}")
        client.flush()
        return request.withdrawal_id if request.append_ms >= until_ms else None

    found: str = wait_for(asked, "a request appended after the end")
    return found


def _tighter_policy(gate: Deployment) -> str:
    path = gate.folder / "tighter.json"
    path.write_text(
        '[{"effective_from":"1970-01-01T00:00:00Z","min_seconds":86400,"default_seconds":172800,"max_seconds":604800},'
        '{"effective_from":"2100-01-01T00:00:00Z","min_seconds":1,"default_seconds":1,"max_seconds":1}]'
    )
    return str(path)


def test_a_worker_whose_clock_is_nine_days_ahead_keeps_every_promise(deploy: Callable[..., Deployment]) -> None:
    """Leases are cut, ends announced and old freezes dropped by the brokers' time: still frozen, nothing ended."""
    gate = deploy(partitions=2)
    gate.create_topics()
    with gate.publisher() as client:
        client.press("acc", 86_400)
        worker = gate.worker(module="tests.controls.fast_clock").wait_ready()
        wait_for(lambda: _statuses(gate)["frozen"] == 1, "the press to be announced")
        frozen = client.request("acc", "frozen")
        free = client.request("free", "free")
        gate.wait_decided()
    decisions = gate.decisions()
    assert decisions[frozen.withdrawal_id]["decision"] == "rejected"
    lease_ms = parse_rfc3339(decisions["free"]["valid_until"]) - free.append_ms
    assert 0 < lease_ms < 60_000
    assert worker.get("/freezes/acc")[0] == 200
    assert worker.metric("gate_frozen_accounts") == 1
    assert _statuses(gate) == {"frozen": 1}
    assert judge(gate.history).findings == []
