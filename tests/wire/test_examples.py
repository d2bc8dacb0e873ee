"""The examples that other teams share with us: each gives what it expects, and keeps to its schema or does not.

A case in `schemas/examples/<topic>.json` has a title and

- a key: `key_text`, `key_base64`, or neither for a record without a key;
- a value: `value_json` (to be written as JSON), `value_text`, `value_base64`, or `value_null` for a tombstone;
- `expect`: `valid` says whether the value keeps to the schema (absent: it does not); of inputs it also says what the
  gate makes of the record when it lies at offset 1042 of partition 3, or only the reason of its dead letter.

In any text, `{{ab*3}}` stands for `ababab`.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest

import schemas
from schemas import freeze_status, panic_button, withdrawal_decision, withdrawal_request
from schemas.freeze_status import Adjusted, Status, encode_status
from schemas.panic_button import MAX_REPORTED_SECONDS, encode_press, parse_press
from schemas.topics import TOPICS
from schemas.wire import Fault, rfc3339
from schemas.withdrawal_decision import Reason, encode_decision, write_freeze_view
from schemas.withdrawal_request import encode_request, parse_request

FOLDER = Path(schemas.__file__).parent
PARTITION, OFFSET = 3, 1042
MODULES = (panic_button, withdrawal_request, withdrawal_decision, freeze_status)
RECORDS = tuple(module.TOPIC for module in MODULES)
_REPEAT = re.compile(r"\{\{(.+?)\*(\d+)\}\}", re.DOTALL)

Case = dict[str, Any]


def expand(found: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Write out every `{{text*times}}`."""
    if isinstance(found, str):
        return _REPEAT.sub(lambda match: match[1] * int(match[2]), found)
    if isinstance(found, dict):
        return {expand(name): expand(value) for name, value in found.items()}
    return [expand(value) for value in found] if isinstance(found, list) else found


def load(record: str) -> list[Case]:
    """Return the cases of a record."""
    cases: list[Case] = expand(json.loads((FOLDER / "examples" / f"{record}.json").read_text("utf-8")))
    return cases


def schema_of(record: str) -> dict[str, Any]:
    """Return a record's JSON Schema."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{record}.schema.json").read_text("utf-8"))
    return schema


VALIDATORS = {
    record: jsonschema_rs.Draft202012Validator(schema_of(record), validate_formats=True) for record in RECORDS
}


def key_of(case: Case) -> bytes | None:
    """Return the bytes of a case's key."""
    if "key_base64" in case:
        return base64.b64decode(case["key_base64"], validate=True)
    return str(case["key_text"]).encode() if "key_text" in case else None


def value_of(case: Case) -> bytes | None:
    """Return the bytes of a case's value."""
    if "value_base64" in case:
        return base64.b64decode(case["value_base64"], validate=True)
    if "value_text" in case:
        return str(case["value_text"]).encode()
    return orjson.dumps(case["value_json"]) if "value_json" in case else None


def cases_of(*records: str) -> list[Any]:
    """Return the cases as pytest's parameters, each under its title."""
    return [pytest.param(record, case, id=f"{record}: {case['title']}") for record in records for case in load(record)]


def keeps_to_schema(record: str, value: bytes | None) -> bool:
    """Tell whether a value is JSON that keeps to the record's schema."""
    try:
        return VALIDATORS[record].is_valid(orjson.loads(value or b""))
    except orjson.JSONDecodeError:
        return False


@pytest.mark.parametrize(("record", "case"), cases_of(panic_button.TOPIC))
def test_a_press_gives_what_its_example_expects(record: str, case: Case) -> None:
    """Account, id, length and dead letter of each press are as the example says."""
    press = parse_press(key_of(case), value_of(case), PARTITION, OFFSET)
    if isinstance(press, Fault):
        found: Case = {"dead_letter": press.reason}
    else:
        found = {
            "account_id": press.account_id,
            "press_id": press.press_id,
            "asked_seconds": press.asked_seconds,
            "dead_letter": None if press.fault is None else press.fault.reason,
        }
    assert found == {name: value for name, value in case["expect"].items() if name != "valid"}, record


@pytest.mark.parametrize(("record", "case"), cases_of(withdrawal_request.TOPIC))
def test_a_request_gives_what_its_example_expects(record: str, case: Case) -> None:
    """Ids, decision and dead letter of each request, of an account that is not frozen, are as the example says."""
    request = parse_request(key_of(case), value_of(case))
    if isinstance(request, Fault):
        found: Case = {"dead_letter": request.reason}
    else:
        found = {
            "withdrawal_id": request.withdrawal_id,
            "account_id": request.account_id,
            "decision_reason": None if request.wrong is None else "invalid_request",
            "dead_letter": None if request.wrong is None else "invalid_request",
        }
    assert found == {name: value for name, value in case["expect"].items() if name != "valid"}, record


@pytest.mark.parametrize(("record", "case"), cases_of(*RECORDS))
def test_an_example_keeps_to_its_schema_exactly_when_it_says_so(record: str, case: Case) -> None:
    """The schema accepts what is called valid, and nothing else."""
    assert keeps_to_schema(record, value_of(case)) is case["expect"].get("valid", False)


@pytest.mark.parametrize("record", RECORDS)
def test_an_example_has_one_title_one_key_and_one_value(record: str) -> None:
    """No field is misspelt, no title stands twice, and no case is ambiguous."""
    cases = load(record)
    titles = [case["title"] for case in cases]
    assert len(titles) == len(set(titles))
    for case in cases:
        values = case.keys() & {"value_json", "value_text", "value_base64", "value_null"}
        keys = case.keys() & {"key_text", "key_base64"}
        assert case.keys() == {"title", "expect"} | values | keys
        assert len(values) == 1, case["title"]
        assert len(keys) <= 1, case["title"]
        assert case.get("value_null", True) is True


@pytest.mark.parametrize("record", RECORDS)
def test_a_schema_says_what_it_is_and_its_own_examples_keep_to_it(record: str) -> None:
    """Each schema is of draft 2020-12, named after its topic, described, and open to unknown fields."""
    schema = schema_of(record)
    assert jsonschema_rs.meta.is_valid(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"withdrawal-gate/{record}.schema.json"
    assert schema["title"]
    assert record in schema["description"]
    assert schema["additionalProperties"] is True
    assert all(field.get("description") for field in schema["properties"].values())
    assert schema["examples"]
    assert all(VALIDATORS[record].is_valid(example) for example in schema["examples"])


def test_every_record_with_a_body_of_ours_has_a_schema_and_examples() -> None:
    """A topic without a schema is dead-letter alone, whose records are others'."""
    assert {topic.name for topic in TOPICS} - set(RECORDS) == {"dead-letter"}
    assert {path.name for path in FOLDER.glob("*.schema.json")} == {f"{record}.schema.json" for record in RECORDS}
    assert {path.name for path in (FOLDER / "examples").glob("*.json")} == {f"{record}.json" for record in RECORDS}


@pytest.mark.parametrize("seconds", [None, -1, 0, 86_400, MAX_REPORTED_SECONDS])
@pytest.mark.parametrize(("account_id", "press_id"), [("acc-42", "p-7"), ("a" * 256, "p" * 128), ("🧊\0", "\u2028")])
def test_a_press_that_we_write_keeps_to_its_schema(account_id: str, press_id: str, seconds: int | None) -> None:
    """What our publisher writes is what others may write, and is read back as it was."""
    value = encode_press(account_id, press_id, seconds)
    assert keeps_to_schema(panic_button.TOPIC, value)
    press = parse_press(account_id.encode(), value, PARTITION, OFFSET)
    assert press == panic_button.Press(account_id, press_id, seconds)


@pytest.mark.parametrize(("withdrawal_id", "account_id"), [("w-1", "acc-42"), ("w" * 128, "a" * 256), ("🧊\0", '"\\')])
def test_a_request_that_we_write_keeps_to_its_schema(withdrawal_id: str, account_id: str) -> None:
    """What our publisher writes is what others may write, and is read back as it was."""
    value = encode_request(withdrawal_id, account_id, "USDT", "12.5", rfc3339(1_795_338_000_000))
    assert keeps_to_schema(withdrawal_request.TOPIC, value)
    request = parse_request(account_id.encode(), value)
    assert request == withdrawal_request.WithdrawalRequest(withdrawal_id, account_id)


@pytest.mark.parametrize("press_id", ["p-7", "p" * 128, "panic-button:0:40"])
@pytest.mark.parametrize("reason", [None, *Reason])
def test_a_decision_that_we_write_keeps_to_its_schema(reason: Reason | None, press_id: str) -> None:
    """Every reason, with and without a press id of the publisher's."""
    frozen = reason is Reason.ACCOUNT_FROZEN
    value = encode_decision(
        withdrawal_id="w-1",
        account_id="acc-42",
        reason=reason,
        frozen_until=rfc3339(1_795_510_800_000) if frozen else None,
        press_id=press_id if frozen else None,
        decided_at=rfc3339(1_795_338_001_250),
        valid_until=rfc3339(1_795_338_031_250) if reason is None else None,
        source=f"{withdrawal_request.TOPIC}:3:1042",
        freeze_view=write_freeze_view({1: 7, 0: 41}),
        request=b'{"withdrawal_id":"w-1","account_id":"acc-42"}',
    )
    assert keeps_to_schema(withdrawal_decision.TOPIC, value)
    assert orjson.loads(value)["freeze_view"] == "0:41,1:7"


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize(
    ("asked", "adjusted"),
    [
        (172_800, None),
        (None, Adjusted.DEFAULTED),
        (-MAX_REPORTED_SECONDS, Adjusted.RAISED),
        (MAX_REPORTED_SECONDS, Adjusted.LOWERED),
    ],
)
def test_a_status_that_we_write_keeps_to_its_schema(status: Status, asked: int | None, adjusted: Adjusted) -> None:
    """Every status with every adjustment, to the largest numbers that are reported."""
    value = encode_status(
        account_id="acc-42",
        status=status,
        press_id="p-7",
        frozen_since_ms=0,
        frozen_until_ms=172_800_000,
        asked_seconds=asked,
        applied_seconds=172_800,
        adjusted=adjusted,
        at_ms=2**62,
    )
    assert keeps_to_schema(freeze_status.TOPIC, value)


def test_enumerations_of_the_schemas_are_those_of_the_code() -> None:
    """Decision, reason, status and adjustment can't drift apart."""
    decision = schema_of(withdrawal_decision.TOPIC)["properties"]
    status = schema_of(freeze_status.TOPIC)["properties"]
    assert set(decision["decision"]["enum"]) == set(withdrawal_decision.Verdict)
    assert set(decision["reason"]["enum"]) == {None, *Reason}
    assert set(status["status"]["enum"]) == set(Status)
    assert set(status["adjusted"]["enum"]) == {None, *Adjusted}
