"""Gates that lose or shorten a freeze, or announce its end twice: each leaves one safeguard out and is convicted."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from streams.judge import judge
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment, Publisher
    from tests.processes import Worker

DAY_SECONDS = 86_400


def test_a_gate_that_waits_for_one_partition_misses_presses_in_another(deploy: Callable[..., Deployment]) -> None:
    """Presses in the second partition while the table is late: nothing is known of them, and G1 is broken."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.worker(module="tests.controls.end_of_one_partition").wait_ready()
    with gate.publisher() as client:
        for number in range(10):
            account_id = f"acc-{number}"
            gate.history.presses.append(sent := client.sent(account_id))
            client.raw("panic-button", account_id.encode(), client.body(account_id), partition=1, report=sent)
            client.request(account_id)
        gate.wait_decided()
    assert "G1" in judge(gate.history).kinds()


def test_an_offset_written_before_its_fold_loses_the_press(deploy: Callable[..., Deployment]) -> None:
    """The control dies between its two writes; on the same folder it reads on behind the press, and G1 is broken."""
    gate = deploy(partitions=1)
    gate.create_topics()
    control = gate.worker("one", module="tests.controls.offset_before_fold").wait_ready()
    with gate.publisher() as client:
        client.press("acc")
        _wait_dead(control)
        gate.worker("one", module="tests.controls.offset_before_fold").wait_ready()
        client.request("acc")
        gate.wait_decided()
    assert "G1" in judge(gate.history).kinds()


def test_a_gate_that_believes_the_body_lets_a_wrong_clock_end_a_freeze(deploy: Callable[..., Deployment]) -> None:
    """The publisher's clock is years behind: the freeze was over before it began, and G1 is broken."""
    gate = deploy(partitions=1)
    gate.create_topics()
    gate.worker(module="tests.controls.body_time").wait_ready()
    with gate.publisher() as client:
        client.press("acc", DAY_SECONDS, pressed_at="2020-01-01T00:00:00.000Z")
        client.request("acc")
        gate.wait_decided()
    assert {"G1", "rule"} <= judge(gate.history).kinds()


def test_a_rebuild_by_todays_policy_ends_freezes_of_yesterday(deploy: Callable[..., Deployment]) -> None:
    """Pressed for 48 hours; rebuilt by a control whose policy's last entry allows a second: G1 is broken."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    policy = gate.folder / "policy.json"
    now = {"effective_from": "1970-01-01T00:00:00Z", "min_seconds": DAY_SECONDS, "default_seconds": 2 * DAY_SECONDS}
    later = {"effective_from": "2100-01-01T00:00:00Z", "min_seconds": 1, "default_seconds": 1, "max_seconds": 1}
    policy.write_text(json.dumps([{**now, "max_seconds": 7 * DAY_SECONDS}, later]))
    with gate.publisher() as client:
        press = client.press("acc")
        client.request("acc")
        gate.wait_decided()
        assert worker.stop() == 0
        assert judge(gate.history).findings == []
        gate.worker("two", "tests.controls.todays_policy", GATE_POLICY=str(policy)).wait_ready()
        _wait_for_broker_time(client, press.append_ms + 1_000)
        client.request("acc")
        gate.wait_decided()
    assert {"G1", "rule"} <= judge(gate.history).kinds()


def test_ends_published_outside_of_their_transaction_come_twice(deploy: Callable[..., Deployment]) -> None:
    """The control dies between publishing an end and committing that it has; the next life publishes it again."""
    gate = deploy(partitions=1)
    gate.create_topics()
    gate.policy()
    control = gate.worker("one", module="tests.controls.timers_outside").wait_ready()
    with gate.publisher() as client:
        client.press("acc", 1)
        _wait_dead(control)
        gate.worker("one", module="tests.controls.timers_outside").wait_ready()
    wait_for(lambda: _statuses(gate)["ended"] > 1, "the end to be published again")
    assert _statuses(gate) == {"frozen": 1, "ended": 2}


def _wait_dead(worker: Worker) -> None:
    wait_for(lambda: worker.process.poll() is not None, "the control to die")


def _wait_for_broker_time(client: Publisher, until_ms: int) -> None:
    """Ask for another account until the broker's time is later."""

    def later() -> bool:
        probe = client.request("nobody")
        client.flush()
        return probe.append_ms > until_ms

    wait_for(later, "the broker's time to pass")


def _statuses(gate: Deployment) -> Counter[str]:
    return Counter(status["status"] for status in gate.values("freeze-status"))
