"""The page of evidence: the hashes of its lines, what happened in plain words, and hostile text as nothing but text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from streams.inspect.evidence import FIRST_HASH, next_hash
from streams.inspect.evidence_page import evidence_page
from tests.pages.reading import complaints, harmless_page

if TYPE_CHECKING:
    from pathlib import Path

Record = dict[str, Any]
HOSTILE = ("</code><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '" onload="alert(1)', "&lt;",
           "gpj\u202eexe", "a\u200bb", "\x1b[31m", "\x00", "<!--", "]]>", "x" * 100_000)  # fmt: skip


def chained(account_id: str, *records: Record) -> list[Record]:
    """Return the lines of evidence about an account."""
    opening: Record = {"account_id": account_id, "since": None, "until": None, "made_at": "2026-11-23T09:00:00.000Z",
               "made_by": "withdrawal-gate 0", "cluster_id": "cluster-1", "topics": {}}  # fmt: skip
    lines, before = [], FIRST_HASH
    for record in (opening, *records, {"records": len(records)}):
        before = next_hash(before, record)
        lines.append({"hash": before, "record": record})
    return lines


def a_record(topic: str, minute: int, value: object, *, key: str = "acc-1", headers: object = ()) -> Record:
    """Return a record of a topic, appended in that minute."""
    exact = value is None or (isinstance(value, dict) and "base64" in value)
    held = value if exact else {"text": _text(value)}
    return {"topic": topic, "partition": 0, "offset": minute, "appended_at": f"2026-11-22T09:{minute:02}:00.000Z",
            "key": {"text": key}, "value": held, "headers": headers}  # fmt: skip


def a_decision(minute: int, text: str = "12.5", **fields: object) -> Record:
    """Return a decision on a request that holds `text` wherever the wallet service may write."""
    request = {"withdrawal_id": text, "amount": text, "asset": text, "address": text}
    body = {"withdrawal_id": text, "decision": "rejected", "reason": "account_frozen", "press_id": "p-1",
            "frozen_until": "2026-11-24T09:01:00.000Z", "request": request, **fields}  # fmt: skip
    return a_record("withdrawal-decision", minute, body)


def a_robbery() -> list[Record]:
    """Return evidence of an approval, a press, a freeze, two stopped requests and one refused for another reason."""
    press = {"account_id": "acc-1", "press_id": "p-1"}
    status = {
        "status": "frozen",
        "frozen_since": "2026-11-22T09:01:00.000Z",
        "frozen_until": "2026-11-24T09:01:00.000Z",
    }
    return chained(
        "acc-1",
        a_decision(0, decision="approved", reason=None, press_id=None),
        a_record("panic-button", 1, press),
        a_record("freeze-status", 1, status),
        a_decision(2, "99.75"),
        a_decision(3),
        a_decision(4, reason="invalid_request", press_id=None, request=None),
    )


def test_the_page_says_in_plain_words_what_happened() -> None:
    """Pressed, frozen from and until, stopped with amount and why, approved before the press, refused otherwise."""
    page = harmless_page(evidence_page(a_robbery()))
    for told in (
        "Evidence about account acc-1",
        "was pressed once, at 2026-11-22T09:01:00.000Z",
        "Frozen from 2026-11-22T09:01:00.000Z until 2026-11-24T09:01:00.000Z.",
        "Of the approvals below, 1 of 1 were stored before the first press.",
        "because the account was frozen: 2",
        "99.75",
        "account_frozen by press p-1 until 2026-11-24T09:01:00.000Z",
        "Requests refused for another reason: 1",
        "Whether the withdrawal engine acted on a decision: nothing here can show it.",
    ):
        assert told in page.text, told


def test_the_page_carries_the_hash_of_every_record_in_the_order_of_the_lines() -> None:
    """Who has page and file can lay them side by side; the last hash stands where it can be noted."""
    lines = a_robbery()
    found = re.findall(r"<code>([0-9a-f]{64})</code>", evidence_page(lines))
    assert found == [line["hash"] for line in lines[1:]]


def test_whatever_a_record_holds_is_shown_as_text_and_whole() -> None:
    """Ids, addresses, amounts, keys, headers, values: no markup, no unseen character, nothing cut off."""
    for text in HOSTILE:
        lines = chained(
            text,
            a_record("panic-button", 1, text, key=text, headers=[[text, {"text": text}], [text, None]]),
            a_record("freeze-status", 2, {"status": text, "frozen_since": [text], "frozen_until": text}),
            a_decision(3, text, press_id=text, frozen_until=text),
            a_decision(4, text, decision=text, reason=text, request={"amount": [text], "asset": {text: None}}),
            a_record("withdrawal-decision", 5, [text]),
            a_record("dead-letter", 6, {"base64": "/wA="}),
            a_record("withdrawal-decision", 7, None),
        )
        page = harmless_page(evidence_page(lines))
        if text.isprintable():
            assert page.text.count(text) >= 12, text[:40]
        else:
            unseen = next(character for character in text if not character.isprintable())
            assert page.text.count(f"U+{ord(unseen):04X}") >= 12, ascii(text)
        assert "/wA=" in page.text


def test_evidence_of_nothing_says_so() -> None:
    """No press, no freeze, no decision: three sentences, not an empty page."""
    page = harmless_page(evidence_page(chained("acc-1")))
    assert "No press of the panic button is recorded here." in page.text
    assert "No freeze of the account is recorded." in page.text
    assert page.text.count("None.") == 3


def test_a_browser_runs_nothing_of_hostile_evidence(tmp_path: Path) -> None:
    """Chromium's console stays silent: nothing was refused, because nothing asked for anything."""
    path = tmp_path / "evidence.html"
    path.write_text(evidence_page(chained("<b>", *(a_decision(3, text) for text in HOSTILE[:-1]))))
    assert complaints(path, tmp_path / "profile") == []


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
