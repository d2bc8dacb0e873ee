"""The steps of an audit, in their order."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from schemas import panic_button, withdrawal_request
from streams.errors import EXIT_FINE, EXIT_NO
from streams.inspect.audit.announced import Announced
from streams.inspect.audit.decisions import Decisions
from streams.inspect.audit.extent import Topics
from streams.inspect.audit.findings import Findings
from streams.inspect.audit.ledger import Ledger
from streams.inspect.audit.letters import Letters
from streams.inspect.audit.presses import Presses
from streams.inspect.audit.requests import Requests
from streams.inspect.audit.statuses import Statuses
from streams.inspect.retained import Span, span_between
from streams.store import open_store

if TYPE_CHECKING:
    from rocksdict import Rdict

    from streams.settings import Settings


def audit(settings: Settings, since: str | None, until: str | None) -> int:
    """Audit requests and presses appended in since <= t < until (RFC 3339; None: no bound); return the exit code.

    Prints findings and a summary. Raises SettingsError, KafkaUnreachable, TopicFaults.
    """
    span = span_between(since, until)
    began = time.monotonic()
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="gate-audit-") as folder:
        database = open_store(Path(folder), {"audit": "1"})
        try:
            _audit(settings, span, database, findings)
        finally:
            database.close()
    findings.conclude({"since": since, "until": until}, time.monotonic() - began)
    return EXIT_NO if findings.found else EXIT_FINE


def _audit(settings: Settings, span: Span, database: Rdict, findings: Findings) -> None:
    # Up to where is read. From here on nothing changes.
    topics = Topics(settings)
    ledger = Ledger(database)
    announced = Announced(topics, ledger, findings)
    # Dead letters, then what they are dead letters of.
    letters = Letters(topics, ledger, findings)
    letters.read(span.since_ms)
    presses = Presses(
        topics=topics, policy=settings.policy, ledger=ledger, letters=letters, announced=announced, findings=findings
    )
    presses.read(span)
    requests = Requests(topics, ledger, letters, findings, shadow=settings.shadow)
    requests.read(span)
    # Decisions, each against its request and the presses below its view.
    decisions = Decisions(settings, topics=topics, ledger=ledger, presses=presses, findings=findings)
    decisions.read(span)
    if settings.shadow:
        # It announces nothing and buries nothing.
        requests.conclude(decisions)
        return
    statuses = Statuses(topics=topics, ledger=ledger, presses=presses, announced=announced, findings=findings)
    statuses.read()
    # What is missing can only be told at the end.
    requests.conclude(decisions)
    statuses.conclude()
    announced.conclude()
    letters.conclude(
        {
            panic_button.TOPIC: (topics[panic_button.TOPIC].starts, topics[panic_button.TOPIC].ends),
            withdrawal_request.TOPIC: topics.span(withdrawal_request.TOPIC, span),
        }
    )
