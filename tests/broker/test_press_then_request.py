"""G1 on a real broker: nothing is approved after an acknowledged press, whoever publishes and however."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from streams.judge import judge
from tests.broker.storm import CALM_FOR_EACH_ROBBED, ROBBED_A_ROUND, press_and_ask_in_a_storm
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

ROUNDS = 2_000 // ROBBED_A_ROUND


def test_no_request_sent_after_its_acknowledged_press_is_approved_under_a_flood(
    deploy: Callable[..., Deployment],
) -> None:
    """2,000 accounts press and ask right after the acknowledgement; 200,000 others press, 8,000 others ask."""
    gate = deploy(partitions=4)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    press_and_ask_in_a_storm(gate, ROUNDS, storm=10_000)
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert verdict.counts["rejected"] == 2_000
    assert verdict.counts["approved"] == 2_000 * CALM_FOR_EACH_ROBBED
    assert worker.stop() == 0


def test_publishers_may_differ_in_partitioner_and_codec(deploy: Callable[..., Deployment]) -> None:
    """Presses by CRC-32, requests by murmur2 or at random, each codec: the decisions are the same."""
    gate = deploy(partitions=4)
    gate.create_topics()
    gate.worker().wait_ready()
    partitioners = ("consistent", "murmur2", "random", "fnv1a", "consistent")
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        for partitioner, other in pairwise(partitioners):
            with (
                gate.publisher(partitioner=partitioner, **{"compression.type": codec}) as presses,
                gate.publisher(partitioner=other, **{"compression.type": codec}) as wallet,
            ):
                for number in range(10):
                    account = f"{codec}-{partitioner}-{number}"
                    presses.press(account)
                    wallet.request(account)
                    wallet.request(f"free-{account}")
    gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert (verdict.counts["rejected"], verdict.counts["approved"]) == (200, 200)


def test_a_press_in_a_transaction_counts_once_it_is_committed(deploy: Callable[..., Deployment]) -> None:
    """A committed press freezes, an aborted one does not, and one left open holds approvals back until it has ended."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    with (
        gate.publisher(**{"transactional.id": f"{gate.name}-app", "transaction.timeout.ms": 30_000}) as app,
        gate.publisher() as wallet,
    ):
        app.producer.init_transactions()
        for number in range(50):
            app.producer.begin_transaction()
            app.press(f"committed-{number}")
            app.producer.commit_transaction()
            wallet.request(f"committed-{number}")
        gate.wait_decided()
        app.producer.begin_transaction()
        app.press("aborted")
        app.producer.abort_transaction()
        gate.history.presses.pop()
        wallet.request("aborted")
        gate.wait_decided()
        before = len(gate.history.outcomes)
        app.producer.begin_transaction()
        app.press("open")
        held = wallet.request("held-back")
        wallet.flush()
        wait_for(lambda: "records behind" in worker.get("/readyz?verbose")[1], "the gate to say that it waits")
        gate.read_history()
        assert len(gate.history.outcomes) == before, "an approval passed an open transaction"
        app.producer.commit_transaction()
    gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    decisions = gate.decisions()
    assert {decisions[f"w-{number}"]["decision"] for number in range(50)} == {"rejected"}
    assert decisions["w-50"]["decision"] == "approved"
    assert decisions[held.withdrawal_id]["decision"] == "approved"


def test_presses_in_partitions_added_while_the_gate_runs_count(deploy: Callable[..., Deployment]) -> None:
    """panic-button grows from 2 to 5 partitions; a press in a new one stops the next request."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.worker().wait_ready()
    with gate.publisher() as wallet:
        wallet.request("before")
        wallet.flush()
        gate.wait_decided()
        gate.add_partitions("panic-button", 5)
        # A publisher made now knows all five.
        with gate.publisher() as presses:
            for partition in range(5):
                account_id = f"pressed-in-{partition}"
                gate.history.presses.append(sent := presses.sent(account_id))
                presses.raw(
                    "panic-button", account_id.encode(), presses.body(account_id), partition=partition, report=sent
                )
                wallet.request(account_id)
    gate.wait_decided()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert (verdict.counts["rejected"], verdict.counts["approved"]) == (5, 1)


def test_a_press_shows_in_force_and_leaves_others_alone(deploy: Callable[..., Deployment]) -> None:
    """The decision says until when and by which press; the look-up says the same; another account is approved."""
    gate = deploy()
    gate.create_topics()
    worker = gate.worker().wait_ready()
    with gate.publisher() as client:
        press = client.press("acc-42", 172_800, press_id="p-7")
        client.request("acc-42", "w-1", kind="card", amount="0.1")
        client.raw(
            "withdrawal-request",
            None,
            b'{"withdrawal_id":"w-2","account_id":"acc-1"}',
            headers=[("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
        )
    gate.wait_decided()
    decisions = wait_for(lambda: len(found := gate.decisions()) == 2 and found, "two decisions")
    rejected, approved = decisions["w-1"], decisions["w-2"]
    assert (rejected["decision"], rejected["reason"], rejected["press_id"]) == ("rejected", "account_frozen", "p-7")
    assert rejected["valid_until"] is None
    assert rejected["request"]["kind"] == "card"
    assert (approved["decision"], approved["reason"], approved["frozen_until"]) == ("approved", None, None)
    status, body = worker.get("/freezes/acc-42")
    assert status == 200
    assert f'"frozen_until":"{rejected["frozen_until"]}"' in body
    assert worker.get("/freezes/acc-1")[0] == 404
    trace = [m.headers() for m in gate.read("withdrawal-decision") if b'"w-2"' in (m.value() or b"")]
    assert trace == [[("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]]
    assert worker.metric('gate_decisions_total{decision="rejected",reason="account_frozen"}') == 1
    assert press.append_ms > 0
