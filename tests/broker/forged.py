"""A history as the gate would have written it, put together by hand, so that a test can spoil one thing in it.

Presses and requests are published first, for their append times are the brokers'. What the gate owes for them is
written down by name in `owed`; a test changes it, and `publish` puts it into the topics.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, Message, Producer

from schemas.freeze_status import Adjusted, Status, encode_status
from schemas.wire import rfc3339
from schemas.withdrawal_decision import Reason, encode_decision

if TYPE_CHECKING:
    from tests.deployment import Deployment

Headers = list[tuple[str, str | bytes | None]]
LEASE_MS = 30_000
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Record:
    """A record of any topic; `append_ms` and `offset` once it is published."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    offset: int = -1
    append_ms: int = -1

    @property
    def source(self) -> str:
        """Its place, as outputs name it."""
        return f"{self.topic}:{self.partition}:{self.offset}"


class Forged:
    """Partition 0 of everything, unless said otherwise."""

    def __init__(self, gate: Deployment) -> None:
        """Write to the deployment's topics."""
        self._gate = gate
        self._producer = Producer({"bootstrap.servers": gate.bootstrap, "acks": "all", "linger.ms": 0})
        self.owed: dict[str, Record] = {}
        self.sent: dict[str, Record] = {}

    def send(self, name: str, topic: str, key: bytes | None, value: bytes | None, **more: Any) -> Record:
        """Publish an input; it is remembered by name."""
        (self.sent[name],) = self._published([Record(topic, more.pop("partition", 0), key, value, **more)])
        return self.sent[name]

    def publish(self) -> None:
        """Publish what is owed, in its order."""
        self._published(list(self.owed.values()))

    def rewrite(self, name: str, old: bytes, new: bytes) -> None:
        """Replace bytes in the value of what is owed."""
        record = self.owed[name]
        assert record.value is not None
        assert old in record.value
        self.owed[name] = replace(record, value=record.value.replace(old, new))

    def _published(self, records: list[Record]) -> list[Record]:
        done: list[Record] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            record = records[len(done)]
            done.append(replace(record, offset=message.offset() or 0, append_ms=message.timestamp()[1]))

        for record in records:
            self._producer.produce(
                self._gate.topic(record.topic),
                record.value,
                record.key,
                record.partition,
                headers=record.headers,
                on_delivery=delivered,
            )
            # One at a time: delivery reports of different topics come in any order.
            assert self._producer.flush(20) == 0
        return done

    def decision(self, name: str, view: str, **changes: Any) -> Record:
        """Return the approval of the request of that name, apart from the changes."""
        request = self.sent[name]
        withdrawal_id, account_id = f"w-{name}", (request.key or b"").decode()
        fields = {
            "withdrawal_id": withdrawal_id,
            "account_id": account_id,
            "reason": None,
            "frozen_until": None,
            "press_id": None,
            "decided_at": rfc3339(request.append_ms),
            "valid_until": None if changes.get("reason") else rfc3339(request.append_ms + LEASE_MS),
            "source": request.source,
            "freeze_view": view,
            "request": request.value,
            **changes,
        }
        value = encode_decision(**fields)
        return Record("withdrawal-decision", request.partition, str(fields["account_id"]).encode(), value)

    def rejection(self, name: str, press_name: str, view: str) -> Record:
        """Return the rejection of that request for the freeze that a press of one or two days set."""
        days = 2 if press_name == "second" else 1
        until_ms = self.sent[press_name].append_ms + days * DAY_SECONDS * 1000
        return self.decision(
            name,
            view,
            reason=Reason.ACCOUNT_FROZEN,
            press_id=f"p-{press_name}",
            frozen_until=rfc3339(until_ms),
        )

    def ask(self, account_id: str, name: str | None = None) -> Record:
        """Publish a request of an account, under the account's name if no other is given."""
        name = name or account_id
        return self.send(name, "withdrawal-request", account_id.encode(), request(f"w-{name}", account_id))

    @staticmethod
    def now_ms() -> int:
        """Return the time of this machine, which is the broker's, too."""
        return time.time_ns() // 1_000_000

    def status(self, name: str, status: Status, until_ms: int, at_ms: int | None = None) -> Record:
        """Return a status of the press of that name, with the end that it leaves."""
        press = self.sent[name]
        asked_seconds = None if name == "broken" else DAY_SECONDS
        value = encode_status(
            account_id=(press.key or b"").decode(),
            status=status,
            press_id=press.source if name == "broken" else f"p-{name}",
            frozen_since_ms=press.append_ms,
            frozen_until_ms=until_ms,
            asked_seconds=asked_seconds,
            applied_seconds=DAY_SECONDS,
            adjusted=Adjusted.DEFAULTED if asked_seconds is None else None,
            at_ms=press.append_ms if at_ms is None else at_ms,
        )
        return Record("freeze-status", 0, press.key, value)

    def letter(self, name: str, reason: str) -> Record:
        """Return the dead letter of the record of that name."""
        record = self.sent[name]
        own: Headers = [
            ("gate-reason", reason.encode()),
            ("gate-detail", b"what is wrong with it"),
            ("gate-source", record.source.encode()),
        ]
        return Record("dead-letter", record.partition, record.key, record.value, [*record.headers, *own])


def honest(gate: Deployment) -> Forged:
    """Return a history with something of everything: `robbed` presses twice, `calm` asks, the rest is broken."""
    forged = Forged(gate)
    forged.send("first", "panic-button", b"robbed", press("robbed", "p-first", DAY_SECONDS))
    forged.ask("calm")
    forged.ask("robbed")
    forged.send("second", "panic-button", b"robbed", press("robbed", "p-second", 2 * DAY_SECONDS))
    forged.send("broken", "panic-button", b"careless", b"{", headers=[("made-by", b"\xff")])
    forged.send("last", "panic-button", b"other", press("other", "p-last", DAY_SECONDS))
    forged.send("unreadable", "withdrawal-request", None, b"\xff\x00", headers=[("made-by", None)])
    forged.send("again", "withdrawal-request", b"calm", forged.sent["calm"].value)
    forged.send("invalid", "withdrawal-request", b"another", request("w-invalid", "calm"))
    forged.ask("robbed", "later")
    forged.ask("calm", "end")
    first, second = (
        forged.sent[name].append_ms + days * DAY_SECONDS * 1000 for name, days in (("first", 1), ("second", 2))
    )
    forged.owed = {
        "calm": forged.decision("calm", "0:1,1:0"),
        "robbed": forged.rejection("robbed", "first", "0:1,1:0"),
        "unreadable": forged.letter("unreadable", "unreadable"),
        "again": forged.letter("again", "duplicate_withdrawal"),
        "invalid": forged.decision("invalid", "0:2,1:0", account_id="calm", reason=Reason.INVALID_REQUEST),
        "why invalid": forged.letter("invalid", "invalid_request"),
        "later": forged.rejection("later", "second", "0:3,1:0"),
        "end": forged.decision("end", "0:4,1:0"),
        "first": forged.status("first", Status.FROZEN, first),
        "second": forged.status("second", Status.EXTENDED, second),
        "broken": forged.status("broken", Status.FROZEN, forged.sent["broken"].append_ms + 2 * DAY_SECONDS * 1000),
        "why broken": forged.letter("broken", "unreadable"),
        "last": forged.status("last", Status.FROZEN, forged.sent["last"].append_ms + DAY_SECONDS * 1000),
    }
    return forged


def press(account_id: str, press_id: str, seconds: int) -> bytes:
    """Return a press."""
    return f'{{"account_id":"{account_id}","press_id":"{press_id}","freeze_seconds":{seconds}}}'.encode()


def request(withdrawal_id: str, account_id: str) -> bytes:
    """Return a request, not as our own encoder would write it."""
    return f'{{ "account_id": "{account_id}", "withdrawal_id": "{withdrawal_id}", "amount": "12.50" }}'.encode()
