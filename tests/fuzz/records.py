"""Puts a record through everything that reads one: each topic's parser, and what commands and evidence take from it."""

from __future__ import annotations

from confluent_kafka import Message

from schemas import dead_letter, freeze_status, withdrawal_request
from schemas.signature import SIGNATURE_HEADER, parse_keys, verify_decision
from schemas.wire import Fault, parse_object
from schemas.withdrawal_decision import source_offset
from streams.inspect.audit.decisions import view_of
from streams.inspect.audit.letters import letter_key
from streams.inspect.evidence import account_of
from streams.inspect.look import describe_dead_letter
from tests.wire.sound import check_press, check_request

PARTITION, OFFSET = 3, 1042
# Kafka counts offsets in 64 bits, one of them the sign.
OFFSETS = range(2**63)
KEYS = parse_keys("fuzz " + "0a" * 32)


def check_record(key: bytes | None, value: bytes | None) -> None:
    """Fail unless every reader takes the record for what it is; an exception of theirs passes through."""
    check_press(key, value)
    check_request(key, value)
    check_places(value)
    for topic in (freeze_status.TOPIC, dead_letter.TOPIC):
        # The record as its own headers too: those of a dead letter are its publisher's.
        headers: list[tuple[str, str | bytes | None]] = [(dead_letter.SOURCE_HEADER, key), (SIGNATURE_HEADER, value)]
        message = Message(topic=topic, partition=PARTITION, offset=OFFSET, key=key, value=value, headers=headers)
        account_id = account_of(topic, message)
        assert account_id is None or isinstance(account_id, str)
        assert all(isinstance(said, str) for said in describe_dead_letter(message).values())
    assert not verify_decision(value or b"", [(SIGNATURE_HEADER, key)], KEYS)


def check_places(value: bytes | None) -> None:
    """Fail unless `source` and `freeze_view` name offsets that Kafka can have, or none."""
    body = parse_object(value)
    if isinstance(body, Fault):
        return
    source, view = body.get("source"), body.get("freeze_view")
    offset = source_offset(source, withdrawal_request.TOPIC, PARTITION)
    assert offset is None or offset in OFFSETS
    if isinstance(source, str):
        letter_key(source)
    if isinstance(view, str):
        assert all(end in OFFSETS for end in (view_of(view) or {}).values())
