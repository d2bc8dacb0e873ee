"""The console's count of stopped requests: of all workers, whole or said not to be, and none twice."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from streams.console.decisions import stop_of
from streams.console.pages import frozen_answer
from streams.console.stopped import FRESH_SECONDS, Stop, Stopped
from streams.rule import BUILT_IN_POLICY, Freeze, freeze_of_press
from tests.pages.reading import Page, told_stopped
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment, Publisher
    from tests.processes import Worker

ACCOUNT = "acc-42"
STOPPED = 'gate_decisions_total{decision="rejected",reason="account_frozen"}'
WHOLE = ", by all workers, since this freeze began"


def ask_in_each_partition(client: Publisher, partitions: int, times: int) -> None:
    """Ask for withdrawals of the account, spread over all workers as no publisher with a key would."""
    for number in range(times * partitions):
        body = json.dumps({"withdrawal_id": f"{ACCOUNT}-{number}", "account_id": ACCOUNT}).encode()
        client.raw("withdrawal-request", None, body, partition=number % partitions)


def wait_told(worker: Worker, *told: str) -> str:
    """Wait until the page says that of the account."""
    said = [""]

    def is_told() -> str:
        said[0] = told_stopped(worker, ACCOUNT)
        return said[0] if all(part in said[0] for part in told) else ""

    try:
        return str(wait_for(is_told, f"{told} on the page", 30))
    except AssertionError as error:
        message = f"{error}; it says {said[0]!r}; its log:\n{worker.log.read_text()}"
        raise AssertionError(message) from None


def frozen(deploy: Callable[..., Deployment], partitions: int = 3) -> Deployment:
    """Return a deployment whose workers have a console, where the account has pressed."""
    gate = deploy(partitions, GATE_CONSOLE="1")
    gate.create_topics()
    with gate.publisher() as client:
        client.press(ACCOUNT)
    return gate


def test_each_worker_tells_what_all_of_them_stopped(deploy: Callable[..., Deployment]) -> None:
    """Two workers stop requests; both pages, and that of a worker that comes later or again, tell the same number."""
    gate = frozen(deploy)
    first, second = gate.worker("one").wait_ready(), gate.worker("two").wait_ready()
    assert told_stopped(first, ACCOUNT)
    wait_for(lambda: all(w.metric("gate_rebalances_total") for w in (first, second)), "both to be in the group")
    wait_for(lambda: first.ready() and second.ready(), "both to be ready")
    with gate.publisher() as client:
        ask_in_each_partition(client, 3, 2)
    wait_for(lambda: first.metric(STOPPED) + second.metric(STOPPED) == 6, "each request to be stopped")
    assert first.metric(STOPPED) > 0
    assert second.metric(STOPPED) > 0
    for worker in (first, second):
        assert wait_told(worker, f"6{WHOLE}").startswith("6,")
    assert [first.stop(), second.stop()] == [0, 0]
    again = gate.worker("one").wait_ready()
    assert wait_told(again, WHOLE).startswith("6,")
    with gate.publisher() as client:
        client.request(ACCOUNT)
    assert wait_told(again, f"7{WHOLE}").startswith("7,")


def test_what_was_not_committed_is_not_counted_and_no_partition_is_left_out(deploy: Callable[..., Deployment]) -> None:
    """A rejection in a transaction that was aborted is none; one in a partition that is new counts, and none twice."""
    gate = frozen(deploy, 1)
    worker = gate.worker().wait_ready()
    with gate.publisher() as client:
        client.request(ACCOUNT, "w-1")
    wait_told(worker, f"1{WHOLE}")
    (decision,) = gate.read("withdrawal-decision")
    topic = gate.topic("withdrawal-decision")
    producer = Producer({"bootstrap.servers": gate.bootstrap, "transactional.id": gate.name})
    producer.init_transactions(30)
    for ends in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(topic, decision.value(), decision.key(), partition=0)
        producer.flush()
        ends(30)
    wait_told(worker, f"2{WHOLE}")
    gate.add_partitions("withdrawal-decision", 2)
    with gate.publisher() as client:
        client.raw("withdrawal-decision", decision.key(), decision.value(), partition=1)
    wait_told(worker, f"3{WHOLE}")
    other = gate.worker()
    assert wait_told(other.wait_ready(), WHOLE).startswith("3,")


def test_what_retention_deleted_is_told_as_missing(deploy: Callable[..., Deployment]) -> None:
    """A worker that comes later counts what is left, and says since when."""
    gate = frozen(deploy, 1)
    first = gate.worker().wait_ready()
    with gate.publisher() as client:
        for _ in range(3):
            client.request(ACCOUNT)
    wait_told(first, f"3{WHOLE}")
    second = gate.read("withdrawal-decision")[1]
    place = TopicPartition(gate.topic("withdrawal-decision"), 0, second.offset() or 0)
    for deleted in gate.admin.delete_records([place]).values():
        deleted.result()
    assert wait_told(gate.worker().wait_ready(), "2, by all workers, since 20", "Before that more may have been")
    wait_told(first, f"3{WHOLE}")


def test_a_reader_that_cannot_read_says_so_and_the_gate_goes_on(deploy: Callable[..., Deployment]) -> None:
    """The topic is gone: not known at present, one line in the log, the worker stays ready. A new one is counted."""
    gate = frozen(deploy, 1)
    worker = gate.worker().wait_ready()
    with gate.publisher() as client:
        client.request(ACCOUNT)
    wait_told(worker, f"1{WHOLE}")
    (decision,) = gate.read("withdrawal-decision")
    topic = gate.topic("withdrawal-decision")
    gate.admin.delete_topics([topic])[topic].result()
    wait_told(worker, "not known at present", "at least 1")
    assert worker.ready()
    assert worker.log.read_text().count("can't count stopped requests at present") == 1
    gate.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    with gate.publisher() as client:
        for _ in range(2):
            client.raw("withdrawal-decision", decision.key(), decision.value(), partition=0)
    wait_told(worker, f"2{WHOLE}")
    assert worker.ready()
    assert worker.log.read_text().count("can't count stopped requests at present") == 1


def frozen_at(pressed_ms: int) -> Freeze:
    """Return the freeze of a press."""
    return freeze_of_press(BUILT_IN_POLICY, "p", None, pressed_ms)


def counted(stopped: Stopped, account_id: str, freeze: Freeze) -> tuple[int, int]:
    """Return what is counted, and since when nothing is missing."""
    found = stopped.of(account_id, freeze)
    return found.count, found.since_ms


def test_stopped_requests_are_counted_for_the_freeze_that_stopped_them() -> None:
    """A freeze that grew keeps its count, a new one starts at none; nobody's count is nobody else's."""
    stopped, first = Stopped(), frozen_at(1_000)
    grown = first._replace(frozen_until_ms=first.frozen_until_ms + 5)
    later = frozen_at(grown.frozen_until_ms + 1)
    # In no order, as partitions come: the freeze after it, its end as it was at first, then as it was moved to.
    for account_id, freeze in (("a", later), ("a", first), ("b", first), ("a", grown), ("a", first)):
        stopped.add([Stop(account_id, freeze.frozen_until_ms, 2_000)])
    assert [counted(stopped, account_id, later)[0] for account_id in "abc"] == [1, 0, 0]
    only_first = Stopped()
    only_first.add(Stop("a", freeze.frozen_until_ms, 2_000) for freeze in (first, grown, first))
    assert [counted(only_first, "a", freeze)[0] for freeze in (first, grown, later)] == [3, 3, 0]


def test_stopped_requests_take_bounded_memory_and_say_since_when_they_are_whole() -> None:
    """Who was stopped longest ago is forgotten, and whoever has no number from then on has one since then."""
    stopped, freeze = Stopped(max_ends=2), frozen_at(1_000)
    stopped.begin(5)
    until_ms = freeze.frozen_until_ms
    stopped.add(Stop(account_id, until_ms, 2_000) for account_id in "aba")
    stopped.add([Stop("c", until_ms, 3_000)])
    assert [counted(stopped, account_id, freeze) for account_id in "abcd"] == [(2, 5), (0, 3_001), (1, 5), (0, 3_001)]
    stopped.add([Stop("b", until_ms, 4_000)])
    assert counted(stopped, "b", freeze) == (1, 3_001)
    # One account whose end is moved on and on takes a place for each end.
    stopped.add(Stop("z", until_ms + moved, 5_000) for moved in range(2))
    assert [counted(stopped, account_id, freeze) for account_id in "abcz"] == [(0, 5_001)] * 3 + [(2, 4_001)]
    stopped.lacks_before(6_000)
    assert counted(stopped, "z", freeze) == (2, 6_000)


def test_a_number_of_stopped_requests_that_is_not_whole_is_not_told_as_if_it_were() -> None:
    """Still reading, unable to read, left behind, whole since a later time: each is said."""
    stopped, freeze, now_s = Stopped(), frozen_at(1_000), time.monotonic()

    def said() -> str:
        count = stopped.of("a", freeze)
        text = Page("".join(frozen_answer("a", freeze, now_ms=2_000, stopped=count, current=True))).text
        return text.partition("Requests stopped")[2].partition("Reminder")[0]

    whole, unknown = "by all workers, since this freeze began", "not known at present: "
    finds_all = ". withdrawal-gate evidence finds all."
    stopped.begin(500)
    stopped.reading(1_234, readable=True)
    stopped.add([Stop("a", freeze.frozen_until_ms, 1_500)] * 2)
    assert said() == f"{unknown}of the last decisions some 1,234 are still to be read{finds_all}"
    stopped.reading(0, readable=False)
    assert said() == f"{unknown}this worker can't read the decisions{finds_all}"
    stopped.reading(0, readable=True)
    stopped.read_until(1_700, now_s)
    assert said() == f"2, {whole}"
    behind = f"{unknown}at least 2, of the decisions until 1970-01-01 00:00:01 UTC{finds_all}"
    stopped.read_until(1_700, now_s - FRESH_SECONDS)
    assert said() == behind
    stopped.read_until(1_700, now_s)
    stopped.reading(0, readable=False)
    assert said() == behind
    stopped.begin(7_000)
    stopped.reading(0, readable=True)
    stopped.read_until(8_000, now_s)
    since = "since 1970-01-01 00:00:07 UTC. Before that more may have been: withdrawal-gate evidence finds all."
    assert said() == f"none, by all workers, {since}"
    stopped.begin(500)
    stopped.read_until(8_000, now_s)
    assert said() == f"none, {whole}"


@pytest.mark.parametrize(
    "changed",
    [
        {"reason": None},
        {"reason": "invalid_request"},
        {"account_id": None},
        {"account_id": 7},
        {"frozen_until": None},
        {"frozen_until": "soon"},
        {"frozen_until": "2026-11-26T08:00:00"},
    ],
)
def test_only_a_rejection_of_a_frozen_account_is_a_stop(changed: dict[str, object]) -> None:
    """Whatever else stands on the topic, by whomever, is passed over."""
    whole = {"account_id": "a", "reason": "account_frozen", "frozen_until": "1970-01-01T00:00:01.500Z"}
    assert stop_of(json.dumps(whole).encode(), 7) == Stop("a", 1_500, 7)
    assert stop_of(json.dumps(whole | changed).encode(), 7) is None
    for other in (b"", b"{", b"[]", b"null", b'"account_frozen"', b"{}", b"\xff"):
        assert stop_of(other, 7) is None
