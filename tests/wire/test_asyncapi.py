"""schemas/asyncapi.yaml, held against the code that it describes and against AsyncAPI's own schema."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from schemas import dead_letter, signature, withdrawal_decision
from schemas.topics import DEFAULT_PARTITIONS, TOPICS, WITHDRAWAL_DECISION, WITHDRAWAL_DECISION_SHADOW, Topic
from schemas.wire import Fault, FaultReason, parse_object
from tests.tools import node_modules
from tests.wire.test_examples import load, schema_of, value_of

ROOT = Path(__file__).parents[2]
# The package in which the AsyncAPI Initiative publishes the JSON Schemas of all versions.
OFFICIAL = "@asyncapi/specs@6.11.1"
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "schemas" / "asyncapi.yaml").read_text("utf-8"))
ALL_TOPICS = (*TOPICS, WITHDRAWAL_DECISION_SHADOW)
RECORDS = [topic for topic in TOPICS if topic.name != "dead-letter"]


def followed(reference: dict[str, str]) -> Any:  # noqa: ANN401  (whatever stands there)
    """Return what a reference within the document leads to."""
    found: Any = DOCUMENT
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def message_of(topic: Topic) -> dict[str, Any]:
    """Return the one message of a topic."""
    (message,) = DOCUMENT["channels"][topic.name]["messages"].values()
    found: dict[str, Any] = followed(message)
    return found


def as_kafka_writes(name: str, value: Any) -> str:  # noqa: ANN401  (a number, a text, a truth or a list)
    """Return a topic's setting as Kafka takes it."""
    if name == "cleanup.policy":
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_channels_are_the_topics_with_their_configuration() -> None:
    """Name, partitions and every setting; who writes and reads them."""
    assert list(DOCUMENT["channels"]) == [topic.name for topic in ALL_TOPICS]
    for topic in ALL_TOPICS:
        channel = DOCUMENT["channels"][topic.name]
        kafka = channel["bindings"]["kafka"]
        config = {name: as_kafka_writes(name, value) for name, value in kafka["topicConfiguration"].items()}
        assert config == topic.config
        assert (channel["address"], kafka["partitions"]) == (topic.name, DEFAULT_PARTITIONS)
        assert channel["description"].startswith(f"Written by: {topic.written_by}. Read by: {topic.read_by}.")


def test_the_gate_receives_what_others_write_and_sends_the_rest() -> None:
    """One operation a channel, under the names of the groups that read."""
    actions = {operation["channel"]["$ref"]: operation["action"] for operation in DOCUMENT["operations"].values()}
    assert len(actions) == len(DOCUMENT["operations"])
    assert actions == {
        f"#/channels/{topic.name}": "send" if topic.written_by.startswith("gate") else "receive" for topic in ALL_TOPICS
    }
    groups = [operation["bindings"]["kafka"]["groupId"]["const"] for operation in received()]
    assert groups == ["withdrawal-gate-announce", "withdrawal-gate"]


def received() -> list[dict[str, Any]]:
    """Return the operations that receive."""
    return [operation for operation in DOCUMENT["operations"].values() if operation["action"] == "receive"]


def test_the_messages_have_the_keys_of_the_topics_and_the_payloads_of_the_schemas() -> None:
    """A payload is a reference to the schema of its record, so nothing is said twice."""
    for topic in TOPICS:
        message = message_of(topic)
        assert message["bindings"]["kafka"]["key"]["description"] == topic.key
        if topic in RECORDS:
            assert message["payload"] == {"$ref": f"./{topic.name}.schema.json"}
            assert (ROOT / "schemas" / message["payload"]["$ref"]).is_file()
    assert message_of(WITHDRAWAL_DECISION_SHADOW) == message_of(WITHDRAWAL_DECISION)


def test_the_headers_are_those_that_the_code_writes() -> None:
    """Names, and the reasons of dead letters; a signature as the keys make it fits the pattern."""
    schemas = DOCUMENT["components"]["schemas"]
    letter = schemas["deadLetterHeaders"]
    fault = Fault(FaultReason.UNREADABLE, "a sentence")
    written = dict(dead_letter.dead_letter_headers(None, fault, "panic-button:0:1"))
    assert list(letter["properties"]) == list(written) == letter["required"]
    assert letter["properties"]["gate-reason"]["enum"] == list(FaultReason)
    decision = schemas["decisionHeaders"]["properties"]
    assert list(decision) == [withdrawal_decision.TRACE_HEADER, signature.SIGNATURE_HEADER]
    signed = signature.parse_keys("2026-11 " + "0a" * 32).sign(b"{}").decode()
    assert jsonschema_rs.is_valid(decision[signature.SIGNATURE_HEADER], signed)


def test_the_servers_are_on_this_machine_and_the_version_is_the_projects() -> None:
    """Whoever tries the document out reaches no one else's broker."""
    assert [server["host"] for server in DOCUMENT["servers"].values()] == ["127.0.0.1:9092"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (DOCUMENT["info"]["title"], DOCUMENT["info"]["version"]) == (project["name"], project["version"])


@pytest.mark.parametrize("topic", RECORDS, ids=lambda topic: topic.name)
def test_a_tool_that_reads_draft_7_judges_every_example_alike(topic: Topic) -> None:
    """AsyncAPI tools take a payload for draft 7; our schemas mean the same there as in draft 2020-12."""
    schema = schema_of(topic.name)
    newer = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    plain = {name: rest for name, rest in schema.items() if name != "$schema"}
    older = jsonschema_rs.Draft7Validator(plain, validate_formats=True)
    parsed = (parse_object(value_of(case)) for case in load(topic.name))
    values = [body for body in parsed if not isinstance(body, Fault)]
    assert len(values) > 5
    assert [older.is_valid(value) for value in values] == [newer.is_valid(value) for value in values]


def test_the_document_keeps_to_the_official_schema() -> None:
    """Validated against the JSON Schema that the AsyncAPI Initiative publishes; and that schema does refuse."""
    path = node_modules(OFFICIAL) / "@asyncapi" / "specs" / "schemas" / f"{DOCUMENT['asyncapi']}.json"
    official = jsonschema_rs.Draft7Validator(json.loads(path.read_bytes()))
    assert [error.message for error in official.iter_errors(DOCUMENT)] == []
    wrong = json.loads(json.dumps(DOCUMENT))
    wrong["channels"]["panic-button"]["bindings"]["kafka"]["partitions"] = "six"
    assert not official.is_valid(wrong)
