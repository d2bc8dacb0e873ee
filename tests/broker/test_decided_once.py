"""G4 on a real broker: every request has its outcome exactly once, whatever happens to workers, group and broker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.dev_broker import DevBroker
from streams.judge import judge
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deployment import Deployment, Publisher
    from tests.processes import Worker

REQUESTS = 20_000
MOST_REQUESTS = 200_000
# Longer than session.timeout.ms and transaction.timeout.ms (10 s): the group goes on without the paused worker.
PAUSE_SECONDS = 13


def test_a_worker_killed_while_deciding_20000_requests_decides_none_twice(deploy: Callable[..., Deployment]) -> None:
    """One worker is killed -9 in the middle, a second has joined, a third joins and leaves: each request once."""
    gate = deploy(partitions=4)
    gate.create_topics()
    first = gate.worker().wait_ready()
    with gate.publisher() as client:
        for number in range(200):
            client.send_press(f"acc-{number * 7}")
        client.flush()
        second = gate.worker().wait_ready()
        for number in range(REQUESTS):
            client.request(f"acc-{number % 2_000}")
            if number == REQUESTS // 4:
                wait_for(lambda: _decided(first) > 0, "the first worker to decide something")
                first.kill()
            if number == REQUESTS // 2:
                third = gate.worker().wait_ready()
        wait_for(lambda: _decided(third) > 0, "the third worker to decide something")
        assert third.stop() == 0
    gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert verdict.counts["approved"] + verdict.counts["rejected"] == REQUESTS
    assert second.stop() == 0


def test_a_worker_paused_longer_than_its_session_commits_nothing_when_it_wakes(
    deploy: Callable[..., Deployment],
) -> None:
    """SIGSTOP while requests flow; another worker takes over; the woken one is fenced and joins again."""
    gate = deploy(partitions=4)
    gate.create_topics()
    sleeper = gate.worker().wait_ready()
    other = gate.worker().wait_ready()
    stop = threading.Event()
    with gate.publisher() as client:
        flow = threading.Thread(target=_flow, args=(client, stop))
        flow.start()
        wait_for(lambda: _decided(sleeper) > 0 and _decided(other) > 0, "both workers to decide")
        sleeper.pause()
        stop.wait(PAUSE_SECONDS)  # the fault itself takes this long
        sleeper.resume()
        woken_at = _decided(sleeper)
        wait_for(lambda: _decided(sleeper) > woken_at, "the woken worker to decide again, as a member")
        stop.set()
        flow.join()
    gate.wait_decided()
    assert judge(gate.history).findings == []
    assert sleeper.stop() == 0


@pytest.mark.parametrize("module", ["streams", "tests.controls.always_commit_aside"])
def test_workers_that_come_and_go_under_load_lose_and_repeat_nothing(
    deploy: Callable[..., Deployment], module: str
) -> None:
    """A batch is committing and the next being decided whenever a worker joins or leaves; each request once."""
    gate = deploy(partitions=4)
    gate.create_topics()
    gate.worker(module=module).wait_ready()
    stop = threading.Event()
    with gate.publisher() as client:
        flow = threading.Thread(target=_flow, args=(client, stop, 5))
        flow.start()
        for _ in range(3):
            guest = gate.worker(module=module).wait_ready()
            wait_for(lambda: _decided(guest) > 0, "the guest to decide")  # noqa: B023  (called before it changes)
            assert guest.stop() == 0
        stop.set()
        flow.join()
    gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert verdict.counts["dead letters"] == 0


def test_offsets_set_back_to_the_beginning_decide_nothing_again(deploy: Callable[..., Deployment]) -> None:
    """While no worker runs the group's committed offsets are rewound: the decisions themselves say where to go on."""
    gate = deploy(partitions=3)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    with gate.publisher() as client:
        for number in range(500):
            client.request(f"acc-{number}")
        client.raw("withdrawal-request", b"k", b"not json")
        gate.wait_decided()
        assert worker.stop() == 0
        member = Consumer({"bootstrap.servers": gate.bootstrap, "group.id": gate.name})
        topic = gate.topic("withdrawal-request")
        member.commit(offsets=[TopicPartition(topic, p, 0) for p in range(3)], asynchronous=False)
        member.close()
        gate.worker("two").wait_ready()  # another folder: nothing but Kafka remembers
        for number in range(100):
            client.request(f"acc-{number}")
        gate.wait_decided()
    assert judge(gate.history).findings == []
    letters = [outcome for outcome in gate.history.outcomes if outcome.dead_letter == "unreadable"]
    assert len(letters) == 1
    assert gate.read("withdrawal-decision")[-1].value() is not None


def test_a_deleted_data_folder_forgets_no_freeze_and_decides_nothing_again(deploy: Callable[..., Deployment]) -> None:
    """The next worker has an empty folder: it replays the presses before its first decision."""
    gate = deploy()
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    with gate.publisher() as client:
        for number in range(300):
            client.send_press(f"acc-{number}")
        client.flush()
        for number in range(50):
            client.request(f"acc-{number}")
        gate.wait_decided()
        assert worker.stop() == 0
        gate.worker("two").wait_ready()
        for number in range(300):
            client.request(f"acc-{number}")
        gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert verdict.counts["rejected"] == 350


def test_the_same_withdrawal_id_is_decided_once_across_restart_and_rebalance(
    deploy: Callable[..., Deployment],
) -> None:
    """Repeated at once, after a restart on an empty folder, and after another worker has taken the partition over."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    ids = [f"same-{number}" for number in range(40)]
    with gate.publisher() as client:
        for _ in range(2):
            for number, withdrawal_id in enumerate(ids):
                client.request(f"acc-{number}", withdrawal_id)
        gate.wait_decided()
        assert worker.stop() == 0
        second = gate.worker("two").wait_ready()
        for number, withdrawal_id in enumerate(ids):
            client.request(f"acc-{number}", withdrawal_id)
        gate.wait_decided()
        third = gate.worker("three").wait_ready()
        wait_for(lambda: third.metric("gate_rebalances_total") > 0, "the third worker to be given partitions")
        second.kill()
        for number, withdrawal_id in enumerate(ids):
            client.request(f"acc-{number}", withdrawal_id)
        gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert verdict.counts["approved"] == len(ids)
    assert verdict.counts["dead letters"] == 3 * len(ids)
    assert {outcome.dead_letter for outcome in gate.history.outcomes} == {None, "duplicate_withdrawal"}


def test_a_withdrawal_id_is_decided_again_once_it_is_forgotten(deploy: Callable[..., Deployment]) -> None:
    """GATE_DUPLICATE_SECONDS=1: repeated at once it is a duplicate, two seconds later it is a request of its own."""
    gate = deploy(partitions=1, GATE_DUPLICATE_SECONDS="1")
    gate.create_topics()
    gate.worker().wait_ready()
    with gate.publisher() as client:
        first = client.request("acc", "again")
        client.request("acc", "again")
        gate.wait_decided()

        def forgotten() -> bool:
            probe = client.request("acc", f"probe-{len(gate.history.requests)}")
            client.flush()
            return probe.append_ms > first.append_ms + 2_000

        wait_for(forgotten, "two seconds of broker time")
        client.request("acc", "again")
        gate.wait_decided()
    decided = [o.decision for o in gate.history.outcomes if o.decision and o.decision["withdrawal_id"] == "again"]
    assert len(decided) == 2
    assert sum(o.dead_letter == "duplicate_withdrawal" for o in gate.history.outcomes) == 1


def test_a_broker_stopped_and_started_again_costs_no_decision(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """The broker goes away in the middle of the flow: not ready meanwhile, then everything is decided once."""
    with DevBroker(tmp_path / "kafka") as broker:
        gate = deploy(partitions=3, broker=broker.bootstrap)
        gate.create_topics()
        worker = gate.worker().wait_ready()
        with gate.publisher() as client:
            for number in range(2_000):
                client.request(f"acc-{number % 100}")
        wait_for(lambda: _decided(worker) > 0, "the worker to decide something")
        broker.stop()
        wait_for(lambda: worker.get("/readyz")[0] == 503, "the worker to say that it can't decide")
        assert worker.metric("gate_ready") == 0
        broker.start()
        gate.connect()  # the test's own clients can lose their brokers as the worker's can (streams/lifeline.py)
        worker.wait_ready()
        with gate.publisher() as client:
            client.press("acc-5")
            for number in range(2_000):
                client.request(f"acc-{number % 100}")
            gate.wait_decided()
        assert judge(gate.history).findings == []
        assert worker.stop() == 0


def _decided(worker: Worker) -> float:
    return sum(
        worker.metric(f'gate_decisions_total{{decision="{decision}",reason="{reason}"}}')
        for decision, reason in (("approved", "none"), ("rejected", "account_frozen"))
    )


def _flow(client: Publisher, stop: threading.Event, burst: int = 1) -> None:
    """Send `burst` requests every 2 ms, and now and then a press, until told to stop."""
    number = 0
    while not stop.wait(0.002) and number < MOST_REQUESTS:
        for _ in range(burst):
            client.request(f"acc-{number % 500}")
            number += 1
        if number % 50 == 0:
            client.send_press(f"acc-{number % 500}")
