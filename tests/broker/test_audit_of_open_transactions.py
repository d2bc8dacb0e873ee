"""`withdrawal-gate audit` while a transaction is under way: it concludes nothing from what is in it, or may come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.errors import KafkaUnreachable
from streams.inspect import retained
from streams.inspect.audit import extent
from streams.inspect.audit.findings import Unjudged
from streams.kafka import end_offsets
from tests.broker.auditing import audited
from tests.broker.forged import DAY_SECONDS, Record, honest, press

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from confluent_kafka.admin import AdminClient

    from tests.deployment import Deployment, Publisher

LETTERS = ("unreadable", "again", "why invalid", "why broken")


@pytest.fixture
def gate(deploy: Callable[..., Deployment]) -> Deployment:
    """Return a deployment with two partitions and no worker."""
    made = deploy(partitions=2)
    made.create_topics()
    return made


@pytest.fixture
def writer(gate: Deployment) -> Iterator[Publisher]:
    """Return a publisher in the middle of a transaction."""
    with gate.publisher(**{"transactional.id": f"{gate.name}-writer"}) as made:
        made.producer.init_transactions(20)
        made.producer.begin_transaction()
        yield made


def _write(writer: Publisher, records: Iterable[Record]) -> None:
    for one in records:
        writer.raw(one.topic, one.key, one.value, partition=one.partition, headers=one.headers)


def _once_asked(monkeypatch: pytest.MonkeyPatch, gate: Deployment, topic: str, then: Callable[[], None]) -> None:
    """Let something happen right after the audit was told up to where it reads a topic."""

    def asked(client: AdminClient, name: str, partitions: Iterable[int]) -> Mapping[int, int]:
        ends = end_offsets(client, name, partitions)
        if name == gate.topic(topic):
            then()
        return ends

    monkeypatch.setattr(extent, "end_offsets", asked)


def test_of_a_transaction_seen_in_part_the_rest_is_not_missed(
    gate: Deployment, writer: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decisions and statuses are read, the dead letters of the same transaction came behind what is read."""
    forged = honest(gate)
    letters = [forged.owed.pop(name) for name in LETTERS]
    _write(writer, forged.owed.values())

    def rest() -> None:
        _write(writer, letters)
        writer.producer.commit_transaction(20)

    with monkeypatch.context() as patch:
        _once_asked(patch, gate, "dead-letter", rest)
        found = audited(gate, capsys)
    assert found.summary["audited"]["decisions"] == 5
    assert (found.findings, found.summary["not_judged"]) == (
        [], {Unjudged.NOT_DECIDED: 3, Unjudged.NOT_ANNOUNCED: 1},
    )  # fmt: skip
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == ([], {})


@pytest.mark.parametrize("committed", [True, False])
def test_a_press_in_a_transaction_under_way_accuses_nobody(
    gate: Deployment,
    writer: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    committed: bool,
) -> None:
    """An approval made below it stands, its status is not due, and aborted it was never pressed."""
    forged = honest(gate)
    pressed = Record("panic-button", 0, b"calm", press("calm", "p-open", DAY_SECONDS))
    _write(writer, [pressed])
    forged.ask("calm", "after")
    # Aborted, the press may lie below what the decision names: it never counted.
    forged.owed["after"] = forged.decision("after", "0:4,1:0" if committed else "0:5,1:0")
    forged.publish()
    ended = writer.producer.commit_transaction if committed else writer.producer.abort_transaction
    _once_asked(monkeypatch, gate, "panic-button", lambda: ended(20))
    found = audited(gate, capsys)
    assert found.summary["audited"]["presses"] == (5 if committed else 4)
    assert (found.findings, found.summary["not_judged"]) == ([], {Unjudged.NOT_ANNOUNCED: 1} if committed else {})


@pytest.mark.parametrize("topic", ["panic-button", "withdrawal-request", "withdrawal-decision"])
def test_a_transaction_that_does_not_end_is_no_verdict(
    gate: Deployment,
    writer: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    topic: str,
) -> None:
    """Neither fine nor a finding: the audit says that it can't read on, which is exit code 3."""
    honest(gate).publish()
    _write(writer, [Record(topic, 0, b"calm", b"{")])
    monkeypatch.setattr(retained, "STALLED_SECONDS", 1.0)
    with pytest.raises(KafkaUnreachable, match="left a transaction open"):
        audited(gate, capsys)
    assert capsys.readouterr().out == ""
    writer.producer.abort_transaction(20)
    found = audited(gate, capsys)
    assert (found.findings, found.summary["not_judged"]) == ([], {})
