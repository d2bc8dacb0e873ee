"""The judge, on histories written by hand: it acquits the good one, and each fault has its finding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Message

from schemas.panic_button import Press
from streams.judge import History, Outcome, PressRecord, PressSent, RequestSent, judge

if TYPE_CHECKING:
    from collections.abc import Callable

PRESSED_MS, ASKED_MS = 1_000, 2_000


def decision(offset: int, verdict: str, withdrawal_id: str, view: str = "0:1", **more: Any) -> Outcome:
    """Return a decision of the request at that offset of partition 0."""
    reason = "account_frozen" if verdict == "rejected" else None
    body = {"decision": verdict, "reason": reason, "withdrawal_id": withdrawal_id, "freeze_view": view, **more}
    return Outcome(0, offset, body, None, 0)


def letter(offset: int, reason: str) -> Outcome:
    """Return a dead letter of the request at that offset of partition 0."""
    return Outcome(0, offset, None, reason, 0)


def good() -> History:
    """Return a history as it should be: a press, its account rejected, another approved, one repeated, one wrong."""
    requests = [("w-0", "pressed"), ("w-1", "free"), ("w-1", "free"), ("w-3", "wrong")]
    return History(
        presses=[PressSent("pressed", 1.0, 0, 0, PRESSED_MS)],
        requests=[
            RequestSent(withdrawal_id, account_id, 2.0, 0, offset, ASKED_MS)
            for offset, (withdrawal_id, account_id) in enumerate(requests)
        ],
        press_records=[PressRecord(Press("pressed", "p-0", None), 0, 0, PRESSED_MS)],
        outcomes=[
            decision(0, "rejected", "w-0"),
            decision(1, "approved", "w-1"),
            letter(2, "duplicate_withdrawal"),
            decision(3, "rejected", "w-3", reason="invalid_request"),
            letter(3, "invalid_request"),
        ],
    )


def test_a_good_history_is_acquitted() -> None:
    """A request that is wrong in itself has a decision and a dead letter; that is one outcome."""
    verdict = judge(good())
    assert verdict.findings == []
    assert verdict.counts["requests"] == 4


FAULTS: dict[str, tuple[Callable[[History], object], set[str]]] = {
    "no outcome": (lambda history: history.outcomes.pop(1), {"G4 never", "G4 id never"}),
    "decided twice": (lambda history: history.outcomes.append(history.outcomes[0]), {"G4 twice", "G4 id twice"}),
    "two letters": (lambda history: history.outcomes.append(history.outcomes[2]), {"G4 twice"}),
    "decided, then a duplicate": (
        lambda history: history.outcomes.append(letter(0, "duplicate_withdrawal")),
        {"G4 twice"},
    ),
    "an id decided again": (
        lambda history: history.outcomes.__setitem__(2, decision(2, "approved", "w-1")),
        {"G4 id twice"},
    ),
    "a duplicate of nothing": (
        lambda history: history.outcomes.__setitem__(1, letter(1, "duplicate_withdrawal")),
        {"G4 id never"},
    ),
    "approved after the press, unseen": (
        lambda history: history.outcomes.__setitem__(0, decision(0, "approved", "w-0", view="0:0")),
        {"G1"},
    ),
    "approved after the press, seen": (
        lambda history: history.outcomes.__setitem__(0, decision(0, "approved", "w-0")),
        {"G1", "rule"},
    ),
    "rejected without a press": (
        lambda history: history.outcomes.__setitem__(1, decision(1, "rejected", "w-1")),
        {"rule"},
    ),
    "a press that is gone": (lambda history: history.press_records.clear(), {"lost", "rule"}),
    "a decision in another partition": (
        lambda history: history.outcomes.__setitem__(0, replace(history.outcomes[0], read_partition=1)),
        {"partition"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_history_has_its_finding(fault: str) -> None:
    """One thing is changed in the good history, and the judge names the promise that it breaks."""
    history = good()
    change, kinds = FAULTS[fault]
    change(history)
    assert judge(history).kinds() == kinds


def test_an_approval_before_the_press_was_acknowledged_breaks_nothing() -> None:
    """Sent before the acknowledgement: no promise had been given, and the table need not have known."""
    history = good()
    history.presses[0].acknowledged_at = 3.0
    history.outcomes[0] = decision(0, "approved", "w-0", view="0:0")
    assert judge(history).findings == []


def test_a_press_whose_place_was_not_told_promises_as_much_as_any_other() -> None:
    """An unknown offset is not 0: what lies there is another account's, and an approval after it breaks G1."""
    history = good()
    history.press_records.insert(0, PressRecord(Press("other", "p-1", None), 0, 0, PRESSED_MS))
    history.press_records[1] = replace(history.press_records[1], offset=1)
    history.presses[0].offset = -1
    history.outcomes[0] = decision(0, "rejected", "w-0", view="0:2")
    assert judge(history).findings == []
    history.outcomes[0] = decision(0, "approved", "w-0", view="0:0")
    assert judge(history).kinds() == {"G1"}
    del history.press_records[1]
    assert judge(history).kinds() == {"lost"}


def test_an_acknowledgement_without_an_offset_does_not_pass_for_offset_0() -> None:
    """A batch is sent twice, because its first answer was lost: the client is not told where the records lie."""
    untold = Message("withdrawal-request", 3)
    request, press = RequestSent("w-0", "free", 1.0), PressSent("pressed")
    request.acknowledged(None, untold)
    press.acknowledged(None, untold)
    assert (request.partition, request.offset) == (press.partition, press.offset) == (3, -1)
    assert press.acknowledged_at > 0


def test_a_request_that_its_publisher_wrote_twice_is_a_duplicate_of_what_it_never_heard_of() -> None:
    """After a lost answer librdkafka does so, idempotent as it is; only the second place was acknowledged."""
    history = good()
    history.requests.append(RequestSent("w-5", "free", 2.0, 0, 5, ASKED_MS))
    history.outcomes += [decision(4, "approved", "w-5"), letter(5, "duplicate_withdrawal")]
    assert judge(history).findings == []
    history.outcomes[-1] = decision(5, "approved", "w-5")
    assert judge(history).kinds() == {"G4 id twice"}
