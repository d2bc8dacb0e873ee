"""Evidence as a page that a customer or a court can read: what happened in plain words, then each record with its hash.

It is made from the lines that are printed and carries their hashes; to check them takes the file of lines. Whatever a
record holds is shown as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from schemas import dead_letter, freeze_status, panic_button, withdrawal_decision, withdrawal_request
from schemas.freeze_status import Status
from schemas.withdrawal_decision import Reason
from streams.inspect.page import facts, page, shown, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Record = dict[str, Any]

WHAT_IT_IS = {
    panic_button.TOPIC: "A press of the panic button",
    withdrawal_request.TOPIC: "A request for a withdrawal",
    withdrawal_decision.TOPIC: "The gate's decision on a request",
    freeze_status.TOPIC: "What a press did, or that a freeze ends",
    dead_letter.TOPIC: "A record that the gate could not serve, kept as it came",
}


def evidence_page(lines: Sequence[dict[str, Any]]) -> str:
    """Return the page for the lines of `evidence`."""
    opening, records = lines[0]["record"], [line["record"] for line in lines[1:-1]]
    about = [
        ("Account", opening["account_id"]),
        ("From", opening["since"] or "the oldest record that the topics retain"),
        ("To", opening["until"] or "the newest record when this was made"),
        ("Made at", f"{opening['made_at']}, by the clock of the machine that made it"),
        ("Made by", opening["made_by"]),
        ("Kafka cluster", opening["cluster_id"]),
        ("Records", len(records)),
        ("Last hash", lines[-1]["hash"]),
    ]
    return page(
        f"Evidence about account {opening['account_id']}",
        [facts(about), *_summary(records), *_limits(), *_all_records(lines), *_how_to_verify(lines[-1]["hash"])],
    )


def _summary(records: Sequence[Record]) -> list[str]:
    presses = [record for record in records if record["topic"] == panic_button.TOPIC]
    statuses = [body for record, body in _bodies(records, freeze_status.TOPIC)]
    decisions = list(_bodies(records, withdrawal_decision.TOPIC))
    stopped = [one for one in decisions if one[1].get("reason") == Reason.ACCOUNT_FROZEN]
    refused = [one for one in decisions if one[1].get("decision") != "approved" and one not in stopped]
    approved = [one for one in decisions if one[1].get("decision") == "approved"]
    return [
        "<h2>What happened</h2>",
        "<p>All times are UTC. When a record was stored is told by the clock of the Kafka broker that stored it.</p>",
        *_presses(presses, [record for record, _ in approved]),
        *_freezes(statuses),
        _decisions("Requests stopped because the account was frozen", stopped),
        _decisions("Requests approved", approved),
        _decisions("Requests refused for another reason", refused),
    ]


def _presses(presses: Sequence[Record], approved: Sequence[Record]) -> list[str]:
    if not presses:
        return ["<p>No press of the panic button is recorded here.</p>"]
    # Records are in the order of their append times, and times of one form, so text can be compared.
    first, last = presses[0]["appended_at"], presses[-1]["appended_at"]
    when = f"once, at {first}" if len(presses) == 1 else f"{len(presses):,} times, first at {first}, last at {last}"
    before = sum(record["appended_at"] < first for record in approved)
    return [
        f"<p>The panic button was pressed {shown(when)}.</p>",
        f"<p>Of the approvals below, {before} of {len(approved)} were stored before the first press.</p>",
    ]


def _freezes(statuses: Sequence[Record]) -> list[str]:
    """Say from when to when the account was frozen: of each freeze, what the last status says of it."""
    freezes = {str(body.get("frozen_since")): body for body in statuses}
    told = [f"<li>Frozen from {shown(since)} until {shown(body.get('frozen_until'))}"
            f"{', and that end has passed' if body.get('status') == Status.ENDED else ''}.</li>"
            for since, body in freezes.items()]  # fmt: skip
    return ["<ul>", *told, "</ul>"] if told else ["<p>No freeze of the account is recorded.</p>"]


def _bodies(records: Sequence[Record], topic: str) -> Iterator[tuple[Record, Record]]:
    """Yield the records of a topic with the objects they hold; the gate writes nothing else there."""
    for record in records:
        if record["topic"] == topic and "text" in (record["value"] or {}):
            try:
                body = orjson.loads(record["value"]["text"])
            except orjson.JSONDecodeError:
                continue
            if isinstance(body, dict):
                yield record, body


def _decisions(title: str, decisions: Sequence[tuple[Record, Record]]) -> str:
    if not decisions:
        return f"<h3>{shown(title)}</h3>\n<p>None.</p>"
    rows: list[tuple[str, ...]] = []
    for record, body in decisions:
        request = body.get("request")
        asked = request if isinstance(request, dict) else {}
        by_press = f" by press {body.get('press_id')} until {body.get('frozen_until')}" if body.get("press_id") else ""
        told = (body.get("withdrawal_id"), asked.get("amount"), asked.get("asset"), asked.get("address"))
        rows.append((
            record["appended_at"],
            *("not given" if value is None else str(value) for value in told),
            f"{body.get('reason') or ''}{by_press}",
        ))  # fmt: skip
    header = ("decided and stored", "withdrawal", "amount", "asset", "to", "why")
    return f"<h3>{shown(title)}: {len(decisions)}</h3>\n" + table(title, header, rows)


def _limits() -> list[str]:
    limits = (
        "Whether the withdrawal engine acted on a decision: nothing here can show it.",
        "Who pressed or asked: the app knows the session, the records do not.",
        "What Kafka no longer retained when this was made; of the freeze's statuses it keeps the last of an account.",
    )
    return ["<h2>What it does not show</h2>", "<ul>", *(f"<li>{shown(limit)}</li>" for limit in limits), "</ul>"]


def _all_records(lines: Sequence[dict[str, Any]]) -> list[str]:
    return ["<h2>The records, in the order in which they were stored</h2>",
            *(_record(number, line) for number, line in enumerate(lines[1:-1], start=1))]  # fmt: skip


def _record(number: int, line: dict[str, Any]) -> str:
    record = line["record"]
    place = f"{record['topic']}, partition {record['partition']}, offset {record['offset']}"
    parts = [
        ("Stored at", shown(record["appended_at"])),
        ("Lies in", shown(place)),
        ("Key", _exactly(record["key"])),
        ("Value", _exactly(record["value"])),
        *((f"Header {name}", _exactly(value)) for name, value in record["headers"]),
        ("Hash", f"<code>{shown(line['hash'])}</code>"),
    ]
    listed = "".join(f"<dt>{shown(name)}</dt><dd>{value}</dd>" for name, value in parts)
    return f"<article>\n<h3>{number}. {shown(WHAT_IT_IS[record['topic']])}</h3>\n<dl>{listed}</dl>\n</article>"


def _exactly(value: dict[str, str] | None) -> str:
    if value is None:
        return "none"
    if "base64" in value:
        return f"not text; in base64: <code>{shown(value['base64'])}</code>"
    return f"<code>{shown(value['text'])}</code>"


def _how_to_verify(last: str) -> list[str]:
    chain = (
        "This page was made together with a file of JSON lines that holds the same records and hashes. Each hash is the"
        " SHA-256 of the hash before it and of its record, so no record can be changed, left out, added or moved and"
        " leave the last hash as it was. Compare the last hash with the one noted elsewhere when this was made:"
    )
    check = "Where the gate runs, this command checks the file of lines, and then each record against Kafka:"
    return [
        "<h2>How to check it</h2>",
        f"<p>{shown(chain)}</p>\n<p><code>{shown(last)}</code></p>",
        f"<p>{shown(check)}</p>\n<p><code>withdrawal-gate evidence --verify FILE</code></p>",
        "<p>A framed code such as <mark>U+202E</mark> stands for a character that is not seen.</p>",
    ]
