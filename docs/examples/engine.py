#!/usr/bin/env python3
"""A withdrawal engine: lets out what the gate has approved, once each, whatever kills it. Copy it, with schemas/.

    engine.py LEDGER RAIL        for example: engine.py ledger.sqlite http://127.0.0.1:9100

LEDGER is an SQLite file of this engine alone; in production a table that all your engines share, with the same key.
RAIL stands for whatever moves the money, see the class. Where Kafka is, GATE_KAFKA_BOOTSTRAP and GATE_TOPIC_PREFIX
say, and how to get in, the file of librdkafka options that GATE_KAFKA_OPTIONS names; with GATE_DECISION_KEY_FILE only
decisions signed by one of its keys count.

What happens to a decision, and what a kill -9 after each step leaves:

    1. check      signature, shadow, verdict.            Nothing was kept: Kafka delivers the decision again.
    2. intent     into the ledger, before anybody acts.  The next start asks the rail what became of it (settle).
    3. release    at the rail, until the lease ends.     The same.
    4. outcome    into the ledger.                       Kafka delivers it again, the ledger knows it: nothing happens.
    5. offset     stored, committed every few seconds.   As after 4.

Any error ends the process, and its supervisor starts it again: that is the way it recovers from kill -9, so it is the
only one.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from confluent_kafka import Consumer, KafkaException, Message

from schemas.signature import SigningKeys, parse_keys, verify_decision

if TYPE_CHECKING:
    from collections.abc import Iterable

RAIL_TIMEOUT_SECONDS = 5.0
RAIL_RETRY_SECONDS = 0.5
LEDGER_TABLE = """
CREATE TABLE IF NOT EXISTS withdrawals (
    withdrawal_id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    valid_until TEXT,
    state TEXT NOT NULL CHECK (state IN ('intended', 'released', 'expired', 'rejected'))
) STRICT
"""


class RefusedError(Exception):
    """A record that is no decision to act on; the text says why and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate said; `valid_until` is None when it said no."""

    withdrawal_id: str
    account_id: str
    valid_until: datetime | None


def read_decision(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]], keys: SigningKeys | None
) -> Decision:
    """Step 1: read a record of withdrawal-decision by its top-level fields; RefusedError when it must not be acted on.

    What to pay and to whom stands in your own order with this id, never in the field `request`: that is what somebody
    wrote to withdrawal-request, word for word.
    """
    if keys is not None and not verify_decision(value or b"", headers, keys):
        message = "it is not signed by one of the keys"
        raise RefusedError(message)
    try:
        body = json.loads(value or b"")
        if body.get("shadow", False) is not False:
            message = "it is of the shadow mode and decides nothing"
            raise RefusedError(message)
        verdict, ids = body["decision"], (body["withdrawal_id"], body["account_id"])
        until = datetime.fromisoformat(body["valid_until"]) if verdict == "approved" else None
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        message = "it does not keep to the schema"
        raise RefusedError(message) from error
    known = verdict in ("approved", "rejected") and all(isinstance(one, str) and one for one in ids)
    if not known or (until is not None and until.tzinfo is None):
        message = "it does not keep to the schema"
        raise RefusedError(message)
    return Decision(*ids, until)


class Ledger:
    """What was decided and what became of it, by withdrawal id; each call returns once it is on the disk."""

    def __init__(self, path: Path) -> None:
        """Open it for this process alone; sqlite3.OperationalError when another engine has it."""
        self._rows = sqlite3.connect(path, isolation_level=None, timeout=0)
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._rows.execute(f"PRAGMA {pragma}")
        self._rows.execute(LEDGER_TABLE)

    def intend(self, decision: Decision) -> bool:
        """Step 2: keep a decision before anybody acts on it; False when its id was decided before."""
        until = decision.valid_until
        row = (decision.withdrawal_id, decision.account_id, until and until.isoformat(), until and "intended")
        added = self._rows.execute(
            "INSERT INTO withdrawals VALUES (?, ?, ?, coalesce(?, 'rejected')) ON CONFLICT DO NOTHING", row
        )
        return added.rowcount == 1

    def conclude(self, decision: Decision, state: str) -> None:
        """Step 4: keep what became of it."""
        self._rows.execute("UPDATE withdrawals SET state = ? WHERE withdrawal_id = ?", (state, decision.withdrawal_id))

    def unsettled(self) -> list[Decision]:
        """Return what an engine that was killed had begun."""
        rows = self._rows.execute("SELECT * FROM withdrawals WHERE state = 'intended'").fetchall()
        return [Decision(row[0], row[1], datetime.fromisoformat(row[2])) for row in rows]


class Rail:
    """What moves the money, over HTTP.

    Nobody pays exactly once without this much help from it:

    - it can be asked whether it holds a payment under a withdrawal id, and
    - it takes none under an id that it holds already, or it answers look-ups only after all that reached it before;
    - it takes none after `not_after`, by its own clock. Then a withdrawal that it does not hold by then never leaves.

    On a chain the first two come with the nonce, or with the inputs that are spent: sign once, keep the signed
    transaction in the ledger with the intent, and broadcast the same bytes again. The third is its expiration.
    """

    def __init__(self, url: str) -> None:
        """Name the rail."""
        self._at = urlsplit(url)

    def holds(self, decision: Decision) -> bool:
        """Tell whether the withdrawal has left; OSError when the rail does not say."""
        return self._ask("GET", decision, (http.client.OK, http.client.NOT_FOUND)) == http.client.OK

    def release(self, decision: Decision) -> bool:
        """Step 3: let the withdrawal out; False when the rail says that it is too late, OSError when nobody knows."""
        return self._ask("PUT", decision, (http.client.OK, http.client.GONE)) == http.client.OK

    def _ask(self, method: str, decision: Decision, answers: tuple[int, ...]) -> int:
        until = decision.valid_until
        body = json.dumps({"account_id": decision.account_id, "not_after": until and until.isoformat()})
        rail = http.client.HTTPConnection(self._at.hostname or "", self._at.port, timeout=RAIL_TIMEOUT_SECONDS)
        try:
            rail.request(method, f"/payments/{quote(decision.withdrawal_id, safe='')}", body)
            status = rail.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(error) from error
        finally:
            rail.close()
        if status not in answers:
            message = f"the rail answered {status}"
            raise OSError(message)
        return status


class Engine:
    """The five steps."""

    def __init__(self, ledger: Ledger, rail: Rail, keys: SigningKeys | None) -> None:
        """Put it together."""
        self._ledger, self._rail, self._keys = ledger, rail, keys

    def recover(self) -> None:
        """Settle what an engine that was killed had begun, before anything new."""
        for decision in self._ledger.unsettled():
            self._settle(decision, tried=True)

    def handle(self, message: Message) -> None:
        """Take a record of withdrawal-decision through all steps."""
        # No decision has another kind of headers; the client's types allow for more.
        headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
        try:
            decision = read_decision(message.value(), headers, self._keys)
        except RefusedError as refused:
            tell(f"{message.partition()}:{message.offset()}", f"refused, {refused}")
            return
        if not self._ledger.intend(decision):
            return
        if decision.valid_until is None:
            tell(decision.withdrawal_id, "rejected")
            return
        self._settle(decision, tried=False)

    def _settle(self, decision: Decision, *, tried: bool) -> None:
        """Do steps 3 and 4; `tried` when the rail may have heard of it already."""
        while (state := self._outcome(decision, tried=tried)) is None:
            tried = True
            tell(decision.withdrawal_id, "the rail does not answer, asking again")
            threading.Event().wait(RAIL_RETRY_SECONDS)
        self._ledger.conclude(decision, state)
        tell(decision.withdrawal_id, state)

    def _outcome(self, decision: Decision, *, tried: bool) -> str | None:
        """Return what became of it, None when the rail does not say."""
        over = decision.valid_until is None or datetime.now(UTC) >= decision.valid_until
        try:
            if not over and ((tried and self._rail.holds(decision)) or self._rail.release(decision)):
                return "released"
            # Too late. The rail takes nothing new, so what it does not hold now never leaves: an earlier try counts.
            return "released" if tried and self._rail.holds(decision) else "expired"
        except OSError:
            return None


def tell(what: str, outcome: str) -> None:
    """Say in one line what became of a withdrawal, without the account."""
    print(json.dumps({"withdrawal": what, "outcome": outcome}), flush=True)


def parse_options(text: str) -> dict[str, str]:
    """Read lines of `name=value`, `#` comments, as GATE_KAFKA_OPTIONS names them to the gate."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def consumer_of(bootstrap: str, prefix: str, options: dict[str, str]) -> Consumer:
    """Read decisions that are committed, from the first on; offsets count once they are stored, after step 4."""
    group = f"{prefix}withdrawal-engine"
    consumer = Consumer(
        {
            **options,
            "bootstrap.servers": bootstrap,
            "group.id": group,
            # A fixed name, so that an engine that starts again has its partitions back at once. Each needs its own.
            "group.instance.id": f"{group}-1",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([f"{prefix}withdrawal-decision"])
    return consumer


def main() -> None:
    """Run until SIGTERM."""
    ledger_path, rail_url = sys.argv[1:]
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    key_file = os.environ.get("GATE_DECISION_KEY_FILE")
    keys = parse_keys(Path(key_file).read_text("utf-8")) if key_file else None
    engine = Engine(Ledger(Path(ledger_path)), Rail(rail_url), keys)
    engine.recover()
    options_file = os.environ.get("GATE_KAFKA_OPTIONS")
    options = parse_options(Path(options_file).read_text("utf-8")) if options_file else {}
    bootstrap = os.environ.get("GATE_KAFKA_BOOTSTRAP") or "127.0.0.1:9092"
    consumer = consumer_of(bootstrap, os.environ.get("GATE_TOPIC_PREFIX", ""), options)
    while not stopping.is_set():
        message = consumer.poll(0.2)
        if message is None:
            continue
        error = message.error()
        if error is None:
            engine.handle(message)
            consumer.store_offsets(message)
        elif not error.retriable():
            raise KafkaException(error)
    consumer.close()


if __name__ == "__main__":
    main()
