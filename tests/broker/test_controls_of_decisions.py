"""Gates that decide twice: each leaves a fence or more out, and is convicted where the gate is acquitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.judge import judge
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment
    from tests.processes import Worker

REQUESTS = 50


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("tests.controls.lost_session", set()),
        ("tests.controls.metadata_at_commit", {"G4 twice"}),
        ("tests.controls.lost_answer", set()),
        ("tests.controls.kept_producer", {"G4 twice", "G4 id twice"}),
    ],
)
def test_a_batch_is_done_again_by_who_does_not_notice_what_became_of_it(
    deploy: Callable[..., Deployment], module: str, kinds: set[str]
) -> None:
    """The group changes its mind before a commit, or a commit's answer is lost: the gate reads on where it must."""
    gate = deploy(partitions=1)
    gate.create_topics()
    gate.worker(module=module).wait_ready()
    with gate.publisher() as client:
        _ask(gate, client.request)
        gate.wait_decided()
        client.request("acc-after")  # decided after all that came before it, the second time too
        gate.wait_decided()
    assert judge(gate.history).kinds() == kinds


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("tests.controls.paused", set()),
        ("tests.controls.no_transactional_id", set()),
        ("tests.controls.no_group_metadata", set()),
        ("tests.controls.no_fences", {"G4 twice", "G4 id twice"}),
    ],
)
def test_a_gate_that_wakes_up_without_any_fence_commits_what_others_have_decided(
    deploy: Callable[..., Deployment], module: str, kinds: set[str]
) -> None:
    """Stopped before its commit until another has decided its batch; one fence left out is made good by the others."""
    gate = deploy(partitions=1)
    gate.create_topics()
    sleeper = gate.worker(module=module, PAUSED="yes").wait_ready()
    with gate.publisher() as client:
        _ask(gate, client.request)
        client.flush()
        process = psutil.Process(sleeper.process.pid)
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED, "the gate to be stopped before its commit")
        gate.worker(module=module).wait_ready()
        gate.wait_decided()
        sleeper.resume()
        wait_for(lambda: _transactions(sleeper) > 0, "the woken gate to try its commit")
        gate.wait_decided()
    assert judge(gate.history).kinds() == kinds


@pytest.mark.parametrize(
    ("module", "kinds"),
    [("tests.controls.open_transaction", set()), ("tests.controls.open_transaction_unfenced", {"G4 never"})],
)
def test_a_dead_gates_transaction_hides_outcomes_unless_who_takes_over_ends_it(
    deploy: Callable[..., Deployment], module: str, kinds: set[str]
) -> None:
    """Killed with its records written: what the next one decides lies behind them, committed and seen by nobody."""
    gate = deploy(partitions=1)
    gate.create_topics()
    first = gate.worker(module=module, DIES="yes").wait_ready()
    with gate.publisher() as client:
        _ask(gate, client.request)
        client.flush()
        wait_for(lambda: first.process.poll() is not None, "the gate to die in its transaction")
        second = gate.worker(module=module).wait_ready()
        approved = 'gate_decisions_total{decision="approved",reason="none"}'
        wait_for(lambda: second.metric(approved) == REQUESTS, "the next gate to decide all of it")
        if kinds:
            gate.read_history()
        else:
            gate.wait_decided()
    assert judge(gate.history).kinds() == kinds


@pytest.mark.parametrize(
    ("module", "kinds"),
    [("tests.controls.dies_at_commit", set()), ("tests.controls.read_from_earliest", {"G4 twice"})],
)
def test_an_offset_that_a_dead_gate_holds_back_is_waited_for_and_not_taken_for_none(
    deploy: Callable[..., Deployment], module: str, kinds: set[str]
) -> None:
    """Killed with its offset sent: a client library left to itself reads all that was decided before once more."""
    gate = deploy(partitions=1)
    gate.create_topics()
    first = gate.worker(module=module).wait_ready()
    with gate.publisher() as client:
        _ask(gate, client.request)
        gate.wait_decided()
        first.stop()
        second = gate.worker(module=module, DIES="yes").wait_ready()
        client.request("acc-after")
        wait_for(lambda: second.process.poll() is not None, "the gate to die before its commit")
        gate.worker(module=module).wait_ready()
        gate.wait_decided()
    assert judge(gate.history).kinds() == kinds


def test_offsets_set_back_decide_again_where_the_outcomes_are_not_asked(deploy: Callable[..., Deployment]) -> None:
    """The group's offset is rewound while nobody runs: another outcome for each (acquittal: test_decided_once)."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    with gate.publisher() as client:
        _ask(gate, client.request)
        gate.wait_decided()
        assert worker.stop() == 0
        member = Consumer({"bootstrap.servers": gate.bootstrap, "group.id": gate.name})
        member.commit(offsets=[TopicPartition(gate.topic("withdrawal-request"), 0, 0)], asynchronous=False)
        member.close()
        gate.worker("two", module="tests.controls.no_tail").wait_ready()
        client.request("acc-after")
        gate.wait_decided()
    assert judge(gate.history).kinds() == {"G4 twice"}


def test_a_worker_that_restores_no_ids_decides_an_id_again(deploy: Callable[..., Deployment]) -> None:
    """The same ids again, to a control with an empty folder: each is decided twice (acquittal: test_decided_once)."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker("one").wait_ready()
    with gate.publisher() as client:
        _ask(gate, client.request)
        gate.wait_decided()
        assert worker.stop() == 0
        gate.worker("two", module="tests.controls.forgets_ids").wait_ready()
        for number in range(REQUESTS):
            client.request(f"acc-{number}", f"w-{number}")
        gate.wait_decided()
    assert judge(gate.history).kinds() == {"G4 id twice"}


def _ask(gate: Deployment, request: Callable[[str], object]) -> None:
    assert not gate.history.requests
    for number in range(REQUESTS):
        request(f"acc-{number}")


def _transactions(worker: Worker) -> float:
    return sum(worker.metric(f'gate_transactions_total{{outcome="{end}"}}') for end in ("committed", "aborted"))
