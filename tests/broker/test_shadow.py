"""GATE_SHADOW=1 on a real broker: a gate that decides on a topic of its own, and leaves no other trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.topics import TOPICS
from streams.judge import judge
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

SHADOW = {"GATE_SHADOW": "1"}
SHADOW_TOPIC = "withdrawal-decision-shadow"
OUTPUTS = ("withdrawal-decision", "freeze-status", "dead-letter")
REQUESTS = 6_000


@pytest.fixture
def shadow(deploy: Callable[..., Deployment]) -> Deployment:
    """Return a deployment with all topics, whose commands and workers are a shadow's."""
    gate = deploy(**SHADOW)
    gate.decision_topic = SHADOW_TOPIC
    gate.create_topics()
    made = gate.command("topics", "create", "--partitions", "1")
    # As many partitions as there are of requests, however few were asked for.
    assert json.loads(made.stdout.splitlines()[-1]) == {
        "topic": gate.topic(SHADOW_TOPIC), "partitions": 3, "created": True,
    }  # fmt: skip
    return gate


def printed(gate: Deployment, *command: str, code: int = 0) -> list[dict[str, Any]]:
    """Return the lines of a command that ends so."""
    done = gate.command(*command)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdicts(gate: Deployment) -> dict[str, tuple[str, str | None, str | None]]:
    """Return what each withdrawal was told."""
    return {
        name: (decision["decision"], decision["reason"], decision["press_id"])
        for name, decision in gate.decisions().items()
    }


def test_a_shadow_decides_on_its_own_topic_and_leaves_no_other_trace(shadow: Deployment) -> None:
    """Presses, good requests and each kind of bad one: no record, no marker, no offset of a group anywhere else."""
    worker = shadow.worker().wait_ready()
    (decision,) = printed(shadow, "request", "acc-0", "--id", "w-0", "--wait", "30")
    assert (decision["shadow"], decision["decision"]) == (True, "approved")
    with shadow.publisher() as client:
        client.press("acc-1", press_id="p-1")
        client.raw("panic-button", None, b"nobody knows whose")
        client.request("acc-1", "w-1")
        client.request("acc-2", "w-2")
        client.flush()
        client.request("acc-2", "w-2")
        client.raw("withdrawal-request", b"k", b"not json")
        client.raw("withdrawal-request", b"other", b'{"withdrawal_id":"w-3","account_id":"acc-3"}')
    counted = {"unreadable": 1, "duplicate_withdrawal": 1, "invalid_request": 1}
    series = 'gate_dead_letters_total{reason="%s",topic="withdrawal-request"}'
    wait_for(lambda: {r: worker.metric(series % r) for r in counted} == counted, "the faults to be counted")
    assert verdicts(shadow) == {
        "w-0": ("approved", None, None),
        "w-1": ("rejected", "account_frozen", "p-1"),
        "w-2": ("approved", None, None),
        "w-3": ("rejected", "invalid_request", None),
    }
    values = [message.value() or b"" for message in shadow.read(SHADOW_TOPIC, "read_uncommitted")]
    assert all(value.startswith(b'{"shadow":true,') for value in values if value)
    assert {end for topic in OUTPUTS for end in shadow.end_offsets(topic).values()} == {0}
    groups = {group.group_id for group in shadow.admin.list_consumer_groups().result().valid}
    assert {group for group in groups if group.startswith(shadow.name)} - {f"{shadow.name}-read"} == {
        f"{shadow.name}-shadow"
    }
    assert worker.metric("gate_shadow") == 1
    assert worker.get("/readyz") == (200, "ready, as a shadow\n")
    log = worker.log.read_text()
    assert f"a shadow: what it decides goes to {shadow.topic(SHADOW_TOPIC)} alone and decides nothing" in log
    (summary,) = printed(shadow, "audit")
    assert (summary["holds"], summary["not_judged"]) == (True, {})
    assert summary["audited"] == {
        "presses": 2, "requests": 6, "decisions": 4, "requests_that_would_be_dead_letters": 2,
    }  # fmt: skip
    refused = shadow.command("evidence", "acc-1")
    assert (refused.returncode, refused.stderr) == (
        2, "GATE_SHADOW is '1'; allowed is 0 for evidence: what a shadow decides is evidence of nothing\n",
    )  # fmt: skip
    *_, total = printed(shadow, "report")
    told = ("shadow", "presses", "presses_without_account", "decided", "stopped_requests", "invalid_requests")
    assert [total[name] for name in told] == [True, 1, 1, 4, 1, 1]
    assert worker.stop() == 0


def test_the_topics_of_a_shadow_are_asked_for_by_shadows_only(deploy: Callable[..., Deployment]) -> None:
    """Without its topic a shadow ends with 4; with three topics it runs, and the live gate misses the others."""
    gate = deploy()
    created = [json.loads(line) for line in gate.command("topics", "create", GATE_SHADOW="1").stdout.splitlines()]
    assert [topic["topic"].removeprefix(gate.prefix) for topic in created if topic["created"]] == [
        "panic-button", "withdrawal-request", SHADOW_TOPIC,
    ]  # fmt: skip
    assert gate.command("topics", "check", GATE_SHADOW="1").stdout == '{"topics":"fine"}\n'
    live = gate.command("topics", "check")
    assert live.returncode == 1
    assert live.stdout.count("there is no such topic") == len(TOPICS) - 2
    gate.worker(**SHADOW).wait_ready()
    gate.add_partitions("withdrawal-request", 7)
    faults = gate.command("topics", "check", GATE_SHADOW="1")
    assert f"{gate.topic(SHADOW_TOPIC)}: partitions is 6; needed: 7 or more" in faults.stdout
    late = gate.worker(**SHADOW)
    assert late.process.wait(30) == 4
    other = deploy(partitions=1)
    other.create_topics()
    assert other.command("topics", "check").returncode == 0
    missing = other.worker(**SHADOW)
    assert missing.process.wait(30) == 4
    assert f"{other.topic(SHADOW_TOPIC)}: there is no such topic" in missing.log.read_text()


def test_a_live_gate_and_its_shadow_run_side_by_side_and_agree(shadow: Deployment) -> None:
    """The same prefix and GATE_GROUP: each decides everything, once, by the rule; a stopped shadow stops nothing."""
    follower = shadow.worker().wait_ready()
    live = shadow.worker(GATE_SHADOW="").wait_ready()
    with shadow.publisher() as client:
        for number in range(60):
            if number % 3 == 0:
                client.press(f"acc-{number}")
            client.request(f"acc-{number}")
            client.request("acc-0")
        shadow.wait_decided()
        assert judge(shadow.history).findings == []
        beside = verdicts(shadow)
        shadow.decision_topic = "withdrawal-decision"
        shadow.wait_decided()
        assert judge(shadow.history).findings == []
        assert verdicts(shadow) == beside
        assert not any("shadow" in decision for decision in shadow.decisions().values())
        assert follower.stop() == 0
        client.request("acc-0", "w-alone")
        shadow.wait_decided()
    assert verdicts(shadow)["w-alone"][0] == "rejected"
    assert live.metric("gate_shadow") == 0
    assert "a shadow" not in live.log.read_text()


def test_a_shadow_killed_while_it_decides_decides_none_twice(shadow: Deployment) -> None:
    """Killed in the middle, and then the offsets set back to the beginning: its topic says where another goes on."""
    first = shadow.worker().wait_ready()
    with shadow.publisher() as client:
        client.press("acc-7")
        for number in range(REQUESTS):
            client.request(f"acc-{number % 1_000}")
            if number == REQUESTS // 4:
                wait_for(lambda: first.metric('gate_decisions_total{decision="approved",reason="none"}'), "decisions")
                first.kill()
        client.flush()
        second = shadow.worker().wait_ready()
        shadow.wait_decided()
        assert second.stop() == 0
        member = Consumer({"bootstrap.servers": shadow.bootstrap, "group.id": f"{shadow.name}-shadow"})
        places = [TopicPartition(shadow.topic("withdrawal-request"), partition, 0) for partition in range(3)]
        member.commit(offsets=places, asynchronous=False)
        member.close()
        third = shadow.worker().wait_ready()
        client.request("acc-7", "w-last")
        # Known from what the first two decided, and read back from the shadow's own topic. Nothing else is read again.
        client.request("acc-1", "w-1")
        wait_for(lambda: "w-last" in verdicts(shadow), "the last decision")
        series = 'gate_dead_letters_total{reason="duplicate_withdrawal",topic="withdrawal-request"}'
        assert wait_for(lambda: third.metric(series), "the id that was decided before to be counted") == 1
    shadow.history.requests.pop()
    shadow.wait_decided()
    verdict = judge(shadow.history)
    assert verdict.findings == []
    assert verdict.counts["approved"] + verdict.counts["rejected"] == REQUESTS + 1
    assert len(shadow.read(SHADOW_TOPIC)) == REQUESTS + 1


def test_a_folder_of_the_other_mode_is_refused(shadow: Deployment) -> None:
    """A live gate on a shadow's folder would never announce what the shadow folded; exit 4 says what differs."""
    for worker in [shadow.worker("shadow"), shadow.worker("live", GATE_SHADOW="")]:
        assert worker.wait_ready().stop() == 0
    for refused, there, here in (
        (shadow.worker("shadow", GATE_SHADOW=""), "1", "none"),
        (shadow.worker("live"), "none", "1"),
    ):
        assert refused.process.wait(30) == 4
        said = f"belongs to another place (GATE_SHADOW {there} there, {here} here); name another folder"
        assert said in refused.log.read_text()
