"""`withdrawal-gate audit` on histories written by hand: the honest one is acquitted, each way to spoil it is found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from schemas.freeze_status import Status
from schemas.topics import WITHDRAWAL_DECISION_SHADOW
from schemas.wire import rfc3339
from schemas.withdrawal_decision import Reason
from streams.inspect.audit.findings import Kind
from tests.broker.auditing import audited
from tests.broker.forged import DAY_SECONDS, Forged, honest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

DAY_MS = DAY_SECONDS * 1000
HOUR_MS = 3_600_000
MARK = b'{"shadow":true,'
SHADOW_TOPIC = WITHDRAWAL_DECISION_SHADOW.name


def test_an_honest_history_is_acquitted_with_everything_judged(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is found, nothing is left unjudged, and each record was looked at."""
    gate = deploy(partitions=2)
    gate.create_topics()
    honest(gate).publish()
    code, findings, summary = audited(gate, capsys)
    assert (code, findings, summary["not_judged"]) == (0, [], {})
    assert summary["audited"] == {
        "dead_letters": 4, "presses": 4, "requests": 7, "decisions": 5, "statuses": 4,
    }  # fmt: skip


def _left_out(name: str) -> Callable[[Forged], None]:
    return lambda forged: forged.owed.__delitem__(name)


def _twice(name: str) -> Callable[[Forged], None]:
    return lambda forged: forged.owed.update({"twice": forged.owed[name]})


def _rewritten(name: str, old: bytes, new: bytes) -> Callable[[Forged], None]:
    return lambda forged: forged.rewrite(name, old, new)


def _decided(name: str, view: str, **changes: Any) -> Callable[[Forged], None]:
    return lambda forged: forged.owed.update({name: forged.decision(name, view, **changes)})


def _changed(name: str, **changes: Any) -> Callable[[Forged], None]:
    return lambda forged: forged.owed.update({name: replace(forged.owed[name], **changes)})


def _lease(forged: Forged) -> None:
    decided_ms = forged.sent["calm"].append_ms + HOUR_MS
    times = {"decided_at": rfc3339(decided_ms), "valid_until": rfc3339(decided_ms + 30_000)}
    forged.owed["calm"] = forged.decision("calm", "0:1,1:0", **times)


def _longer_lease(forged: Forged) -> None:
    valid_until = rfc3339(forged.sent["calm"].append_ms + 30_001)
    forged.owed["calm"] = forged.decision("calm", "0:1,1:0", valid_until=valid_until)


def _valid_rejection(forged: Forged) -> None:
    valid_until = rfc3339(forged.sent["robbed"].append_ms)
    forged.rewrite("robbed", b'"valid_until":null', f'"valid_until":"{valid_until}"'.encode())


def _decided_again_as_new(forged: Forged) -> None:
    forged.owed["again"] = forged.decision("again", "0:1,1:0", withdrawal_id="w-calm")


def _duplicate_of_nothing(forged: Forged) -> None:
    forged.owed["end"] = forged.letter("end", "duplicate_withdrawal")
    # Something is decided behind it.
    forged.send("behind", "withdrawal-request", b"calm", b'{"account_id":"calm","withdrawal_id":"w-behind"}')
    forged.owed["behind"] = forged.decision("behind", "0:4,1:0")


def _moved_earlier(forged: Forged) -> None:
    forged.owed["second"] = forged.status("second", Status.EXTENDED, forged.sent["second"].append_ms + DAY_MS)


def _ended_at_first_end(forged: Forged) -> None:
    until_ms = forged.sent["first"].append_ms + DAY_MS
    forged.owed["ended"] = forged.status("first", Status.ENDED, until_ms, until_ms)


def _status_of_nothing(forged: Forged) -> None:
    at_ms = forged.sent["last"].append_ms - 1
    forged.owed["nothing"] = forged.status("last", Status.FROZEN, at_ms + DAY_MS, at_ms)


def _letter_of_nothing(forged: Forged) -> None:
    beyond = replace(forged.sent["end"], offset=99)
    forged.sent["beyond"] = beyond
    forged.owed["beyond"] = forged.letter("beyond", "unreadable")


def _letter_header(forged: Forged) -> None:
    letter = forged.owed["unreadable"]
    forged.owed["unreadable"] = replace(letter, headers=[("made-by", b""), *letter.headers[1:]])


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        (Kind.REQUEST_WITHOUT_OUTCOME, _left_out("calm")),
        (Kind.REQUEST_WITHOUT_OUTCOME, _left_out("unreadable")),
        (Kind.REQUEST_WITHOUT_OUTCOME, _left_out("invalid")),
        (Kind.REQUEST_DECIDED_TWICE, _twice("calm")),
        (Kind.REQUEST_DECIDED_TWICE, _twice("unreadable")),
        (Kind.REQUEST_DECIDED_TWICE, lambda f: f.owed.update(more=f.letter("calm", "duplicate_withdrawal"))),
        (Kind.WITHDRAWAL_DECIDED_TWICE, _decided_again_as_new),
        (Kind.APPROVED_WHILE_FROZEN, _decided("robbed", "0:1,1:0")),
        (Kind.APPROVED_WHILE_FROZEN, _decided("later", "0:1,1:0")),
        (Kind.DIFFERS_FROM_RULE, _decided("calm", "0:1,1:0", reason=Reason.ACCOUNT_FROZEN)),
        (Kind.DIFFERS_FROM_RULE, _decided("calm", "0:1,1:0", reason=Reason.INVALID_REQUEST)),
        (Kind.DIFFERS_FROM_RULE, _decided("calm", "0:1,1:0", account_id="other")),
        (Kind.DIFFERS_FROM_RULE, _valid_rejection),
        (Kind.DIFFERS_FROM_RULE, _decided("invalid", "0:2,1:0", account_id="calm")),
        (Kind.DIFFERS_FROM_RULE, _rewritten("later", b"p-second", b"p-first")),
        (Kind.DIFFERS_FROM_RULE, _rewritten("robbed", b'"0:1,1:0"', b'"0:0,1:0"')),
        (Kind.DIFFERS_FROM_RULE, lambda f: f.owed.update(unreadable=f.decision("unreadable", "0:2,1:0", request=None))),
        (Kind.REQUEST_ALTERED, _decided("calm", "0:1,1:0", request=b'{"amount":"12.5"}')),
        (Kind.REQUEST_ALTERED, _decided("calm", "0:1,1:0", request=None)),
        (Kind.LEASE_TOO_LONG, _lease),
        (Kind.LEASE_TOO_LONG, _longer_lease),
        (Kind.VIEW_RUNS_BACKWARDS, _decided("end", "0:2,1:0")),
        (Kind.VIEW_RUNS_BACKWARDS, _decided("end", "1:0")),
        (Kind.VIEW_BEYOND_PRESSES, _decided("end", "0:5,1:0")),
        (Kind.VIEW_BEYOND_PRESSES, _decided("end", "0:4,1:0,2:1")),
        (Kind.NO_SUCH_REQUEST, _decided("end", "0:4,1:0", source="withdrawal-request:0:99")),
        (Kind.SHADOW_MARK, _rewritten("calm", b'{"withdrawal', b'{"shadow":true,"withdrawal')),
        (Kind.UNREADABLE, _changed("calm", value=b"{")),
        (Kind.UNREADABLE, _changed("calm", partition=1)),
        (Kind.UNREADABLE, _decided("calm", "0:one")),
        (Kind.UNREADABLE, _decided("calm", "0:1,1:0", valid_until="soon")),
        (Kind.UNREADABLE, _changed("first", value=b"{}")),
        (Kind.UNREADABLE, _changed("unreadable", headers=[])),
        (Kind.FREEZE_MOVED_EARLIER, _moved_earlier),
        (Kind.FREEZE_MOVED_EARLIER, _ended_at_first_end),
        (Kind.STATUS_MISSING, _left_out("broken")),
        (Kind.STATUS_TWICE, _twice("first")),
        (Kind.STATUS_UNFOUNDED, _status_of_nothing),
        (Kind.LETTER_TWICE, _twice("why broken")),
        (Kind.LETTER_ALTERED, _changed("unreadable", value=b"\xff")),
        (Kind.LETTER_ALTERED, _changed("unreadable", key=b"")),
        (Kind.LETTER_ALTERED, _changed("why broken", value=None)),
        (Kind.LETTER_ALTERED, _letter_header),
        (Kind.LETTER_UNFOUNDED, lambda f: f.owed.update(unreadable=f.letter("unreadable", "no_account"))),
        (Kind.LETTER_UNFOUNDED, lambda f: f.owed.update(more=f.letter("calm", "invalid_request"))),
        (Kind.LETTER_UNFOUNDED, lambda f: f.owed.update(more=f.letter("last", "invalid_press"))),
        (Kind.LETTER_UNFOUNDED, _duplicate_of_nothing),
        (Kind.LETTER_UNFOUNDED, _letter_of_nothing),
        (Kind.LETTER_UNFOUNDED, _changed("again", partition=1)),
        (Kind.LETTER_MISSING, _left_out("why invalid")),
        (Kind.LETTER_MISSING, _left_out("why broken")),
    ],
)  # fmt: skip
def test_each_way_to_spoil_an_honest_history_is_found(
    deploy: Callable[..., Deployment],
    capsys: pytest.CaptureFixture[str],
    kind: Kind,
    spoil: Callable[[Forged], None],
) -> None:
    """One thing is left out, done twice or altered, and the audit names it."""
    gate = deploy(partitions=2)
    gate.create_topics()
    forged = honest(gate)
    spoil(forged)
    forged.publish()
    code, findings, _ = audited(gate, capsys)
    assert code == 1
    assert kind in {finding["finding"] for finding in findings}, findings
    assert all("calm" not in finding["detail"] and "robbed" not in finding["detail"] for finding in findings)


def _in_shadow(forged: Forged) -> None:
    """Leave of a history what a shadow would have written: its decisions, marked, on its topic."""
    forged.owed = {
        name: replace(record, topic=SHADOW_TOPIC, value=(record.value or b"").replace(b"{", MARK, 1))
        for name, record in forged.owed.items()
        if record.topic == "withdrawal-decision"
    }


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        (None, lambda _: None),
        (Kind.REQUEST_WITHOUT_OUTCOME, _left_out("calm")),
        (Kind.REQUEST_WITHOUT_OUTCOME, _left_out("invalid")),
        (Kind.SHADOW_MARK, _rewritten("calm", MARK, b"{")),
        (Kind.SHADOW_MARK, _rewritten("robbed", b":true", b":false")),
        (Kind.APPROVED_WHILE_FROZEN, _rewritten("robbed", b'"rejected"', b'"approved"')),
    ],
)
def test_the_decisions_of_a_shadow_are_judged_alike(
    deploy: Callable[..., Deployment],
    capsys: pytest.CaptureFixture[str],
    kind: Kind | None,
    spoil: Callable[[Forged], None],
) -> None:
    """Without dead letters and statuses, which a shadow does not write; what would be one is counted."""
    gate = deploy(partitions=2, GATE_SHADOW="1")
    gate.create_topics(WITHDRAWAL_DECISION_SHADOW)
    forged = honest(gate)
    _in_shadow(forged)
    spoil(forged)
    forged.publish()
    code, findings, summary = audited(gate, capsys)
    assert (code, summary["not_judged"]) == (0 if kind is None else 1, {})
    if kind is not None:
        assert kind in {finding["finding"] for finding in findings}, findings
        return
    assert summary["audited"] == {
        "presses": 4, "requests": 7, "decisions": 5, "requests_that_would_be_dead_letters": 2,
    }  # fmt: skip
