"""G6 on a real broker: whatever is published gets the outcome of the contract, and the worker lives."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from streams.judge import PressSent
from streams.kafka import headers_of
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from tests.deployment import Deployment, Publisher


@dataclass(frozen=True)
class Bad:
    """A record and what becomes of it: the reason of its dead letter, of its decision, the account it freezes."""

    title: str
    key: bytes | None
    value: bytes | None
    dead_letter: str | None
    decision: str | None = None
    freezes: str | None = None


REQUESTS = [
    Bad("a tombstone", b"acc", None, "unreadable"),
    Bad("no JSON", b"acc", b"{", "unreadable"),
    Bad("an empty value", b"acc", b"", "unreadable"),
    Bad("an array", b"acc", b"[]", "unreadable"),
    Bad("invalid UTF-8", b"acc", b'{"withdrawal_id":"\xff"}', "unreadable"),
    Bad("a byte order mark", b"acc", b'\xef\xbb\xbf{"withdrawal_id":"w","account_id":"a"}', "unreadable"),
    Bad("no withdrawal id", b"acc", b'{"account_id":"acc"}', "no_withdrawal_id"),
    Bad("no account", b"acc", b'{"withdrawal_id":"no-account"}', "no_account"),
    Bad("a number as id", None, b'{"withdrawal_id":17,"account_id":"acc"}', "invalid_request", "invalid_request"),
    Bad("a number as account", None, b'{"withdrawal_id":"n","account_id":4}', "invalid_request", "invalid_request"),
    Bad("another key", b"other", b'{"withdrawal_id":"k","account_id":"acc"}', "invalid_request", "invalid_request"),
    Bad("a binary key", b"\xff\x00", b'{"withdrawal_id":"b","account_id":"acc"}', "invalid_request", "invalid_request"),
    Bad(
        "too deep", None, b'{"withdrawal_id":"deep","account_id":"a","x":' + b"[" * 500 + b"]" * 500 + b"}",
        "invalid_request", "invalid_request",
    ),
    Bad(
        "an overlong id", None, b'{"withdrawal_id":"' + b"x" * 129 + b'","account_id":"acc"}',
        "invalid_request", "invalid_request",
    ),
    Bad("a NUL in the id", None, b'{"withdrawal_id":"n\\u0000ul","account_id":"acc"}', None, "approved"),
    Bad(
        "a megabyte", None, b'{"withdrawal_id":"big","account_id":"acc","x":"' + b"y" * 1_000_000 + b'"}',
        None, "approved",
    ),
]  # fmt: skip
PRESSES = [
    Bad("a tombstone", b"t", None, "unreadable", freezes="t"),
    Bad("no JSON", b"j", b"panic!", "unreadable", freezes="j"),
    Bad("no account in the body", b"k", b'{"press_id":"p"}', "no_account", freezes="k"),
    Bad("another key", b"key", b'{"account_id":"body"}', "key_mismatch", freezes="body"),
    Bad("a number as account", None, b'{"account_id":7}', "no_account", freezes="7"),
    Bad("a number as press id", None, b'{"account_id":"pid","press_id":7}', "invalid_press", freezes="pid"),
    Bad("nothing at all", None, None, "unreadable"),
    Bad("a binary key and no body", b"\xff", b"?", "unreadable"),
    Bad("a float as length", None, b'{"account_id":"float","freeze_seconds":1.5}', None, freezes="float"),
    Bad(
        "a length beyond 64 bits",
        None,
        b'{"account_id":"big","freeze_seconds":' + b"9" * 40 + b"}",
        None,
        freezes="big",
    ),
    Bad("a negative length", None, b'{"account_id":"neg","freeze_seconds":-1}', None, freezes="neg"),
]


def test_bad_requests_get_their_decision_or_dead_letter(deploy: Callable[..., Deployment]) -> None:
    """Each record has one outcome, the dead letter is the record byte for byte, and good ones go on around it."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    places = {}
    with gate.publisher(**{"message.max.bytes": 1_048_000}) as client:
        for number, bad in enumerate(REQUESTS):
            headers = [("custom", b"\x00\xff"), ("empty", None)]
            places[client.raw("withdrawal-request", bad.key, bad.value, headers=headers)] = bad
            client.request("good", f"good-{number}")
        gate.wait_decided()
    wait_for(lambda: _lag(worker.get("/metrics")[1]) == 0, "the lag to be 0 again")
    decisions = {
        tuple(map(int, decision["source"].split(":")[1:])): decision for decision in gate.values("withdrawal-decision")
    }
    letters = {_source(message): message for message in gate.read("dead-letter")}
    for (partition, offset), bad in places.items():
        decision = decisions.get((partition, offset))
        assert (decision and (decision["reason"] or decision["decision"])) == bad.decision, bad.title
        letter = letters.get(f"withdrawal-request:{partition}:{offset}")
        assert (letter is not None) == (bad.dead_letter is not None), bad.title
        if letter is not None:
            assert _header(letter, "gate-reason") == bad.dead_letter, bad.title
            assert (letter.key(), letter.value()) == (bad.key, bad.value), bad.title
            assert headers_of(letter)[:2] == [("custom", b"\x00\xff"), ("empty", None)], bad.title
            assert letter.partition() == partition, bad.title
    assert sum(decision["withdrawal_id"].startswith("good-") for decision in decisions.values()) == len(REQUESTS)
    assert worker.stop() == 0


def test_bad_presses_freeze_whom_they_name_and_are_kept(deploy: Callable[..., Deployment]) -> None:
    """The button is never refused: what can be told is frozen, what can't be read is in dead-letter."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    places = {}
    with gate.publisher() as client:
        for bad in PRESSES:
            partition, offset = client.raw("panic-button", bad.key, bad.value)
            places[f"panic-button:{partition}:{offset}"] = bad
        expected = {source for source, bad in places.items() if bad.dead_letter}
        wait_for(lambda: {_source(m) for m in gate.read("dead-letter")} == expected, "the dead letters of the presses")
        for bad in PRESSES:
            if bad.freezes:
                client.request(bad.freezes, f"w-{bad.freezes}")
        client.request("key", "w-key")
        gate.wait_decided()
    letters = {_source(message): message for message in gate.read("dead-letter")}
    for source in expected:
        bad, letter = places[source], letters[source]
        assert _header(letter, "gate-reason") == bad.dead_letter, bad.title
        assert (letter.key(), letter.value()) == (bad.key, bad.value), bad.title
    decisions = gate.decisions()
    for bad in PRESSES:
        if bad.freezes:
            assert decisions[f"w-{bad.freezes}"]["reason"] == "account_frozen", bad.title
    assert decisions["w-key"]["decision"] == "approved"
    assert worker.metric('gate_dead_letters_total{reason="unreadable",topic="panic-button"}') == 4
    assert worker.get("/freezes/t")[0] == 200


def test_a_dead_letter_too_large_for_its_topic_says_where_the_record_is(deploy: Callable[..., Deployment]) -> None:
    """A topic made by hand may take less than the input: the outcome is still one dead letter."""
    gate = deploy(partitions=1)
    gate.create_topics(dead_letter={"max.message.bytes": "40000"}, withdrawal_decision={"max.message.bytes": "40000"})
    gate.worker().wait_ready()
    with gate.publisher() as client:
        partition, offset = client.raw("withdrawal-request", b"acc", b"?" * 50_000)
        client.request("acc", "large", note="z" * 50_000)
        gate.wait_decided()
    [unreadable, too_large] = gate.read("dead-letter")
    assert _source(unreadable) == f"withdrawal-request:{partition}:{offset}"
    assert unreadable.value() is None
    assert "read the record at gate-source" in _header(unreadable, "gate-detail")
    assert _header(too_large, "gate-reason") == "invalid_request"
    assert gate.decisions()["large"]["request"] is None


def test_ids_that_take_more_in_the_decision_than_in_the_request_stop_nobody(deploy: Callable[..., Deployment]) -> None:
    """A decision repeats ids and value: too large together, it is a rejection without the value, never a standstill."""
    gate = deploy(partitions=1)
    gate.create_topics(withdrawal_decision={"max.message.bytes": "40000"})
    gate.worker().wait_ready()
    chance = random.Random(0)
    ids = ["".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(1_024)) for _ in range(2)]
    body = {"withdrawal_id": ids[0], "account_id": ids[1], "memo": ""}
    # As large as a decision could repeat if ids took no room; bytes that don't compress, as the limit counts those.
    body["memo"] = chance.randbytes(20_000).hex()[: 40_000 - 4_096 - len(json.dumps(body))]
    with gate.publisher() as client:
        _, offset = client.raw("withdrawal-request", None, json.dumps(body).encode())
        client.request("a", "next")
        gate.wait_decided()
    [large] = [decision for decision in gate.values("withdrawal-decision") if decision["withdrawal_id"] == ids[0]]
    assert (large["source"], large["decision"], large["reason"], large["request"]) == (
        f"withdrawal-request:0:{offset}",
        "rejected",
        "invalid_request",
        None,
    )
    assert gate.decisions()["next"]["decision"] == "approved"
    assert gate.command("audit").returncode == 0


def test_a_burst_decided_onto_a_topic_of_small_batches_is_decided(deploy: Callable[..., Deployment]) -> None:
    """A topic's limit counts for what the producer sends at once, too: each decision fits, so must their batches."""
    gate = deploy(partitions=1)
    gate.create_topics(withdrawal_decision={"max.message.bytes": "40000"})
    worker = gate.worker().wait_ready()
    chance = random.Random(0)
    worker.pause()
    with gate.publisher() as client:
        for _ in range(500):
            client.request("a", memo=chance.randbytes(500).hex())
        client.flush()
        worker.resume()
        gate.wait_decided()
    assert {decision["decision"] for decision in gate.decisions().values()} == {"approved"}


@pytest.mark.parametrize("topic", ["panic-button", "withdrawal-request"])
def test_records_without_a_brokers_time_fail_closed(deploy: Callable[..., Deployment], topic: str) -> None:
    """A topic is changed to client timestamps while the gate runs: presses count from now, nothing frozen passes."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    with gate.publisher() as client:
        client.press("acc")
        client.request("acc", "before")
        gate.wait_decided()
        gate.alter_topic(topic, "message.timestamp.type", "CreateTime")
        wait_for(lambda: _takes_client_times(client, topic), "the broker to leave times alone")
        client.raw("panic-button", b"old", json.dumps({"account_id": "old"}).encode(), timestamp=1_000)
        client.raw("withdrawal-request", None, b'{"withdrawal_id":"backdated","account_id":"acc"}', timestamp=1_000)
        client.request("old", "pressed-in-1970")
        gate.wait_decided()
    wait_for(lambda: len(gate.decisions()) == 3, "three decisions")
    assert {decision["decision"] for decision in gate.decisions().values()} == {"rejected"}
    status, text = worker.get("/readyz?verbose")
    assert status == 503
    assert f"{gate.topic(topic)} has no broker append time" in text


def _takes_client_times(client: Publisher, topic: str) -> bool:
    """Publish what is neither press nor request, and tell whether it has kept its time."""
    sent = PressSent("nobody")
    client.raw(topic, None, b"", sent, timestamp=1_000)
    return sent.append_ms == 1_000


def _source(message: Message) -> str:
    return _header(message, "gate-source")


def _header(message: Message, name: str) -> str:
    return (dict(headers_of(message))[name] or b"").decode()


def _lag(metrics: str) -> float:
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("gate_consumer_lag_records"))
