"""`withdrawal-gate audit` says what it can't judge, and accuses nobody of what is on its way, gone or ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition

from schemas.freeze_status import Status
from schemas.wire import rfc3339
from streams.inspect.audit.findings import Kind, Unjudged
from tests.broker.auditing import audited
from tests.broker.forged import Forged, honest, press
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

CLIENT_TIMES = {"message.timestamp.type": "CreateTime"}


@pytest.fixture
def gate(deploy: Callable[..., Deployment]) -> Deployment:
    """Return a deployment with two partitions and no worker."""
    made = deploy(partitions=2)
    made.create_topics()
    return made


def _delete(gate: Deployment, topic: str, before: int) -> None:
    place = TopicPartition(gate.topic(topic), 0, before)
    gate.admin.delete_records([place])[place].result()


def test_what_is_on_its_way_is_counted_and_accuses_nobody(gate: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """The last request has no outcome yet, the last press no status."""
    forged = honest(gate)
    del forged.owed["end"], forged.owed["last"]
    forged.publish()
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == (
        [], {Unjudged.NOT_DECIDED: 1, Unjudged.NOT_ANNOUNCED: 1},
    )  # fmt: skip


def test_decisions_of_requests_that_retention_deleted_are_not_judged(
    gate: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decisions outlive their requests by three weeks; so do the dead letters."""
    forged = honest(gate)
    forged.publish()
    _delete(gate, "withdrawal-request", forged.sent["invalid"].offset)
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == (
        [], {Unjudged.REQUEST_GONE: 2, Unjudged.LETTER_SOURCE_GONE: 2},
    )  # fmt: skip
    assert found.summary["audited"]["decisions"] == 3


def test_decisions_of_presses_that_retention_deleted_are_not_judged(
    gate: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the account was frozen can't be told any more; a press that retention can't have deleted is missed."""
    forged = honest(gate)
    forged.publish()
    _delete(gate, "panic-button", forged.sent["broken"].offset)
    assert audited(gate, capsys).kinds == {Kind.DIFFERS_FROM_RULE, Kind.STATUS_UNFOUNDED}
    gate.alter_topic("panic-button", "retention.ms", "1")
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == (
        [], {Unjudged.PRESSES_GONE: 4, Unjudged.PRESS_GONE: 2},
    )  # fmt: skip


def test_requests_whose_outcome_retention_deleted_are_not_judged(
    gate: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """That an outcome is no longer there doesn't say that it never was."""
    forged = honest(gate)
    forged.publish()
    _delete(gate, "withdrawal-decision", 2)
    assert audited(gate, capsys).kinds == {Kind.REQUEST_WITHOUT_OUTCOME, Kind.LETTER_UNFOUNDED}
    gate.alter_topic("withdrawal-decision", "retention.ms", "1")
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == (
        [], {Unjudged.OUTCOME_GONE: 2, Unjudged.DUPLICATE: 1},
    )  # fmt: skip


def test_decisions_without_the_brokers_time_are_not_judged(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a request whose time a client set nor an account that such a press froze; the rest is."""
    gate = deploy(partitions=2)
    gate.create_topics(withdrawal_request=CLIENT_TIMES)
    honest(gate).publish()
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == ([], {Unjudged.UNTIMED: 4})
    gate = deploy(partitions=2)
    gate.create_topics(panic_button=CLIENT_TIMES)
    honest(gate).publish()
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == ([], {Unjudged.UNTIMED: 2, Unjudged.ACCOUNT: 3})


def test_an_approval_against_a_press_with_a_time_is_found_beside_one_without(
    gate: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can't be told could only have frozen for longer."""
    forged = honest(gate)
    gate.alter_topic("panic-button", "message.timestamp.type", "CreateTime")
    forged.send("untimed", "panic-button", b"robbed", press("robbed", "p-untimed", 1))
    forged.owed["later"] = forged.decision("later", "0:5,1:0")
    forged.owed["end"] = forged.decision("end", "0:5,1:0")
    forged.publish()
    assert audited(gate, capsys).kinds == {Kind.APPROVED_WHILE_FROZEN}


def test_a_span_is_judged_by_what_was_pressed_before_it(gate: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests outside of it are left out, faulty ones too; presses before it still count."""
    forged = honest(gate)
    forged.owed["calm"] = forged.decision("calm", "0:1,1:0", account_id="other")
    wait_for(lambda: forged.now_ms() > forged.sent["end"].append_ms, "the clock to move on")
    since = rfc3339(forged.ask("robbed", "since").append_ms)
    forged.owed["since"] = forged.rejection("since", "second", "0:4,1:0")
    wait_for(lambda: forged.now_ms() > forged.sent["since"].append_ms, "the clock to move on")
    until = rfc3339(forged.ask("calm", "until").append_ms)
    forged.owed["until"] = forged.decision("until", "0:4,1:0")
    forged.publish()
    found = audited(gate, capsys, since, until)
    assert (found.findings, found.summary["not_judged"]) == ([], {})
    assert (found.summary["audited"]["requests"], found.summary["audited"]["decisions"]) == (1, 1)
    assert audited(gate, capsys, since).summary["audited"]["decisions"] == 2
    assert audited(gate, capsys, None, until).kinds == {Kind.DIFFERS_FROM_RULE}
    assert audited(gate, capsys, None, "2001-01-01T00:00:00Z").summary["audited"]["requests"] == 0


def test_an_id_may_be_decided_again_once_it_is_forgotten(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """More than GATE_DUPLICATE_SECONDS lie between the two requests; with a longer memory it would be a finding."""
    gate = deploy(partitions=2, GATE_DUPLICATE_SECONDS="1")
    gate.create_topics()
    forged = honest(gate)
    wait_for(lambda: forged.now_ms() > forged.sent["calm"].append_ms + 1_100, "the id to be forgotten")
    forged.send("renewed", "withdrawal-request", b"calm", forged.sent["calm"].value)
    forged.owed["renewed"] = forged.decision("renewed", "0:4,1:0", withdrawal_id="w-calm")
    forged.publish()
    assert audited(gate, capsys).findings == []
    gate.environment["GATE_DUPLICATE_SECONDS"] = "3600"
    assert audited(gate, capsys).kinds == {Kind.WITHDRAWAL_DECIDED_TWICE}


def test_a_status_that_compaction_can_have_removed_is_no_finding(
    gate: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an account's statuses the last stays; that nothing was compacted shows where a former one is still there."""
    forged = Forged(gate)
    for name in ("early", "earlier"):
        forged.send(name, "panic-button", b"early", press("early", f"p-{name}", 100_000), partition=1)
        forged.owed[name] = forged.status(name, Status.EXTENDED, forged.sent[name].append_ms + 100_000_000)
    forged.publish()
    whole_from = forged.now_ms() + 1_000
    wait_for(lambda: forged.now_ms() > whole_from, "more than brokers' clocks may differ")
    forged = honest(gate)
    first = forged.owed.pop("first")
    forged.publish()
    found = audited(gate, capsys)
    assert found.kinds == {Kind.STATUS_MISSING}
    assert found.findings[0]["at"] == forged.sent["first"].source
    assert first.key == b"robbed"


def test_a_missing_status_is_not_told_from_a_compacted_one(
    gate: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """The account has a later status, and nothing shows that its former one was not compacted away."""
    forged = honest(gate)
    del forged.owed["first"]
    forged.publish()
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == ([], {Unjudged.COMPACTED: 1})


@pytest.mark.parametrize("spoiled", [None, "missing", "twice", "early"])
def test_each_freeze_that_is_over_has_one_end_in_time(
    gate: Deployment, capsys: pytest.CaptureFixture[str], spoiled: str | None
) -> None:
    """Three freezes of two seconds: an end that was passed over, repeated or came too soon is found."""
    gate.policy(minimum=1)
    forged = Forged(gate)
    untils = {}
    for name in ("one", "two", "three"):
        forged.send(name, "panic-button", name.encode(), press(name, f"p-{name}", 2))
        untils[name] = forged.sent[name].append_ms + 2_000
        forged.owed[name] = forged.status(name, Status.FROZEN, untils[name])
    forged.publish()
    forged.owed = {}
    wait_for(lambda: forged.now_ms() > untils["three"], "the freezes to be over")
    if spoiled == "early":
        forged.send("four", "panic-button", b"one", press("one", "p-four", 9))
        untils["one"] = forged.sent["four"].append_ms + 5_000
        forged.owed["four"] = forged.status("four", Status.FROZEN, forged.sent["four"].append_ms + 9_000)
    for name in ("one", "two", "three"):
        forged.owed[f"{name} ended"] = forged.status(name, Status.ENDED, untils[name], untils[name])
    if spoiled == "missing":
        del forged.owed["one ended"]
    if spoiled == "twice":
        forged.owed["again"] = forged.owed["two ended"]
    forged.publish()
    expected = {
        "missing": {Kind.STATUS_MISSING},
        "twice": {Kind.STATUS_TWICE},
        "early": {Kind.FREEZE_MOVED_EARLIER},
    }
    assert audited(gate, capsys).kinds == expected.get(spoiled or "", set())
