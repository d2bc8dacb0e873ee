"""`withdrawal-gate audit` of real workers: the gate is acquitted, at work and after a crash; a control is convicted."""

from __future__ import annotations

import json
import re
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from streams.inspect.audit.findings import Kind
from tests.broker.auditing import audited
from tests.broker.forged import DAY_SECONDS
from tests.processes import GATE, Running, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.deployment import Deployment, Publisher


def test_the_gate_is_acquitted_of_everything_it_may_meet(deploy: Callable[..., Deployment]) -> None:
    """Extended, ended, unreadable and repeated records, publishers' transactions, a killed worker: all is judged."""
    gate = deploy()
    gate.create_topics()
    gate.alter_topic("withdrawal-decision", "max.message.bytes", "60000")
    gate.alter_topic("dead-letter", "max.message.bytes", "60000")
    gate.policy(minimum=1)
    worker = gate.worker().wait_ready()
    with gate.publisher(**{"transactional.id": f"{gate.name}-wallet"}) as wallet, gate.publisher() as client:
        for seconds in (1, 86_400, 3_600, None):
            client.press("acc-1", seconds, press_id=f"p-{seconds}")
        client.press("acc-2", 1)
        _send_what_is_broken(client)
        _in_a_transaction(wallet)
        worker.kill()
        gate.worker().wait_ready()
        for number in range(50):
            client.request(f"acc-{number % 5}", f"w-{number % 40}")
    gate.wait_decided()
    wait_for(lambda: "ended" in {status["status"] for status in gate.values("freeze-status")}, "an end")
    wait_for(lambda: len(gate.read("dead-letter")) >= 19, "the dead letters of presses")
    done = gate.command("audit")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, summary["findings"], summary["not_judged"]) == (0, {}, {}), done.stdout
    assert summary["audited"]["requests"] == len(gate.read("withdrawal-request"))
    assert summary["audited"]["decisions"] == len(gate.read("withdrawal-decision"))


def _send_what_is_broken(client: Publisher) -> None:
    deep = b'{"withdrawal_id":"w-deep","account_id":"acc-4","deep":' + b"[" * 200 + b"]" * 200 + b"}"
    large = b'{"withdrawal_id":"w-large","account_id":"acc-4","memo":"' + b"x" * 70_000 + b'"}'
    for value in (deep, large, b'{"withdrawal_id":7,"account_id":"acc-4"}', b"{", None, b'{"account_id":"acc-4"}'):
        client.raw("withdrawal-request", b"acc-4", value, headers=[("traceparent", b"00-1"), ("other", b"\xff")])
    client.raw("withdrawal-request", b"acc-5", b'{"withdrawal_id":"w-key","account_id":"acc-4"}')
    for key, value in ((b"acc-6", b"{"), (None, b"{"), (b"acc-6", b'{"account_id":"acc-7","press_id":3}')):
        client.raw("panic-button", key, value)


def _in_a_transaction(wallet: Publisher) -> None:
    """Publish requests that count, and before them some that don't."""
    wallet.producer.init_transactions(20)
    wallet.producer.begin_transaction()
    wallet.request("acc-1", "w-aborted")
    wallet.producer.flush(20)
    wallet.producer.abort_transaction(20)
    wallet._deployment.history.requests.pop()  # noqa: SLF001  (nobody will see it)
    wallet.producer.begin_transaction()
    wallet.request("acc-1", "w-committed")
    wallet.request("acc-3", "w-committed-too")
    wallet.producer.flush(20)
    wallet.producer.commit_transaction(20)


def test_a_gate_at_work_is_not_accused_of_what_is_on_its_way(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """Audited again and again while two workers decide, announce and bury; the last audit finds all of it judged."""
    gate = deploy(partitions=4)
    gate.create_topics()
    gate.policy(minimum=1)
    gate.worker().wait_ready()
    gate.worker().wait_ready()
    over = threading.Event()
    with gate.publisher() as client:

        def publish() -> None:
            number = 0
            while not over.is_set():
                number += 1
                client.send_press(f"acc-{number}", 1 + number % 3)
                for turn in range(20):
                    client.request(f"acc-{number - turn}", f"w-{number}-{turn // 2}")
                client.send_raw("withdrawal-request", b"acc", b"{")
                client.send_raw("panic-button", b"acc", b"{")
                over.wait(0.02)

        publishing = threading.Thread(target=publish)
        publishing.start()
        try:
            on_their_way = 0
            for _ in range(4):
                found = audited(gate, capsys)
                assert found.findings == []
                on_their_way += sum(found.summary["not_judged"].values())
        finally:
            over.set()
            publishing.join()
    assert on_their_way
    gate.wait_decided()
    wait_for(lambda: not audited(gate, capsys).summary["not_judged"], "everything to be announced")
    assert audited(gate, capsys).findings == []


def test_a_gate_that_finds_nobody_frozen_is_convicted_by_its_topics(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its freeze_view says that it knew better."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.worker(module="tests.controls.approves_all").wait_ready()
    with gate.publisher() as client:
        client.press("acc")
        client.request("acc")
    gate.wait_decided()
    assert audited(gate, capsys).kinds == {Kind.APPROVED_WHILE_FROZEN}


def test_audit_exits_by_its_findings_and_refuses_what_is_no_span(deploy: Callable[..., Deployment]) -> None:
    """0 with a summary, 1 with findings, which a terminal shows as a table; 2 for no time, 4 without topics."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.worker().wait_ready()
    fine = gate.command("audit", "--until", "2001-01-01T00:00:00Z")
    assert (fine.returncode, json.loads(fine.stdout)["holds"]) == (0, True)
    wrong = gate.command("audit", "--since", "yesterday")
    assert (wrong.returncode, "--since is 'yesterday'" in wrong.stderr) == (2, True)
    missing = gate.command("audit", GATE_TOPIC_PREFIX="nobody.")
    assert (missing.returncode, "there is no such topic" in missing.stderr) == (4, True)
    with gate.publisher() as client:
        client.press("audited", 2 * DAY_SECONDS)
        client.request("audited", "audited")
    wait_for(lambda: "audited" in gate.decisions(), "the decision")
    # Who takes the workers for stricter than they were finds that they froze for too short a time.
    gate.policy(minimum=604_800, default=604_800)
    with closing(Running(gate, *GATE, "audit", terminal=True)) as audit:
        assert audit.end()[0] == 1
    assert re.search(
        r"differs_from_rule +.*withdrawal-decision:\d:\d+.*the rule gives another frozen_until", audit.said
    )
    assert re.search(r"audited +.*requests +\d+", audit.said)
    assert re.search(r"\d+ findings, in ", audit.said)
