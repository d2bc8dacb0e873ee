"""Schemas against their released form: no change may break who writes or reads by it; each kind of break is caught.

`released/` holds the schemas as other teams have them. A release that breaks on purpose replaces them in the commit
that says so.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson
import pytest

from schemas.freeze_status import Status, encode_status
from schemas.panic_button import Press, encode_press, parse_press
from schemas.withdrawal_decision import approval_form
from schemas.withdrawal_request import WithdrawalRequest, encode_request, parse_request
from tests.wire.evolution import breaks_of_input, breaks_of_output, closed
from tests.wire.test_examples import load, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.wire.evolution import Schema

    Change = Callable[[Schema], object]

RELEASED = Path(__file__).parent / "released"
INPUTS, OUTPUTS = ("panic-button", "withdrawal-request"), ("withdrawal-decision", "freeze-status")


def released(record: str) -> dict[str, Any]:
    """Return a schema as other teams have it."""
    schema: dict[str, Any] = json.loads((RELEASED / f"{record}.schema.json").read_text("utf-8"))
    return schema


def breaks(record: str, changed: Schema) -> list[str]:
    """Return what breaks by a change, seen from the side of the other teams."""
    return (breaks_of_input if record in INPUTS else breaks_of_output)(released(record), changed)


def after(record: str, change: Change) -> list[str]:
    """Return what breaks when the released schema is changed so."""
    changed = copy.deepcopy(released(record))
    change(changed)
    assert changed != released(record), "nothing was changed"
    return breaks(record, changed)


def into(*path: str, **values: Any) -> Change:
    """Return a change that sets keywords of a field."""

    def change(schema: Schema) -> None:
        for name in path:
            schema = schema["properties"][name]
        schema.update(values)

    return change


def without(field: str) -> Change:
    """Return a change that takes a field away, and no longer requires it."""

    def change(schema: Schema) -> None:
        del schema["properties"][field]
        schema["required"] = [name for name in schema["required"] if name != field]

    return change


def required(*names: str) -> Change:
    """Return a change that sets what is required."""
    return lambda schema: schema.update(required=list(names))


def added(field: str, *, needed: bool) -> Change:
    """Return a change that adds a field."""

    def change(schema: Schema) -> None:
        schema["properties"][field] = {"type": "string"}
        if needed:
            schema["required"].append(field)

    return change


def reasons(*values: str | None) -> Change:
    """Return a change of the reasons of a decision."""
    return into("reason", enum=list(values))


DECISION_FIELDS = tuple(name for name in released("withdrawal-decision")["required"] if name != "freeze_view")
BREAKING: dict[str, tuple[str, Change, str]] = {
    "input: a new field is required": ("panic-button", added("device", needed=True), "device is not always sent"),
    "input: an optional field is required": ("panic-button", required("account_id", "press_id"), "press_id is not"),
    "input: a field is forgotten": ("panic-button", without("freeze_seconds"), "freeze_seconds: removed"),
    "input: a field is retyped": ("panic-button", into("freeze_seconds", type="string"), "type integer"),
    "input: a text is shorter": ("withdrawal-request", into("withdrawal_id", maxLength=64), "maxLength"),
    "input: a text must be longer": ("withdrawal-request", into("account_id", minLength=8), "minLength"),
    "input: a number has a bound": ("panic-button", into("freeze_seconds", minimum=86_400), "minimum"),
    "input: a pattern appears": ("withdrawal-request", into("amount", pattern="^[0-9.]+$"), "pattern differs"),
    "input: values are listed": ("withdrawal-request", into("kind", enum=["chain"]), "values beyond a list"),
    "input: unknown fields are refused": (
        "withdrawal-request",
        lambda schema: schema.update(additionalProperties=False),
        "unknown fields are refused",
    ),
    "input: a condition appears": ("panic-button", lambda schema: schema.update({"not": {}}), "not differs"),
    "output: a field is gone": ("withdrawal-decision", without("valid_until"), "valid_until: removed"),
    "output: an optional field is gone": ("withdrawal-decision", without("shadow"), "shadow: removed"),
    "output: a field is no longer always there": (
        "withdrawal-decision",
        required(*DECISION_FIELDS),
        "freeze_view is not always sent",
    ),
    "output: a field is retyped": ("freeze-status", into("applied_seconds", type="number"), "type number"),
    "output: a field may be null": ("freeze-status", into("press_id", type=["string", "null"]), "type null"),
    "output: a value is new": (
        "withdrawal-decision",
        reasons(None, "account_frozen", "invalid_request", "too_large"),
        "value 'too_large'",
    ),
    "output: a text is longer": ("withdrawal-decision", into("press_id", maxLength=500), "maxLength"),
    "output: a bound is gone": (
        "freeze-status",
        lambda schema: schema["properties"]["applied_seconds"].pop("maximum"),
        "maximum",
    ),
    "output: another form of a time": (
        "withdrawal-decision",
        lambda schema: schema["$defs"]["time"].pop("pattern"),
        "pattern differs",
    ),
    "output: another alternative": (
        "withdrawal-decision",
        lambda schema: schema["properties"]["valid_until"]["anyOf"].append({"type": "integer"}),
        "an alternative of anyOf",
    ),
    "output: a condition is gone": ("withdrawal-decision", lambda schema: schema.pop("allOf"), "allOf differs"),
}
FITTING: dict[str, tuple[str, Change]] = {
    "input: a new field is optional": ("panic-button", added("device", needed=False)),
    "input: a field is no longer required": ("withdrawal-request", required("withdrawal_id")),
    "input: a text may be longer": ("panic-button", into("press_id", maxLength=256)),
    "input: a field takes more types": ("panic-button", into("freeze_seconds", type=["integer", "null"])),
    "output: a new field": ("withdrawal-decision", added("policy", needed=True)),
    "output: a value is no longer sent": ("withdrawal-decision", reasons(None, "account_frozen")),
    "output: a field is always there": (
        "withdrawal-decision",
        lambda schema: schema["required"].append("shadow"),
    ),
    "either: other words": ("freeze-status", into("at", description="Since when.")),
}


@pytest.mark.parametrize("record", [*INPUTS, *OUTPUTS])
def test_todays_schemas_fit_everybody_who_has_the_released_ones(record: str) -> None:
    """Whoever wrote or read by the released schema still can."""
    assert breaks(record, schema_of(record)) == []


@pytest.mark.parametrize("kind", BREAKING)
def test_each_kind_of_breaking_change_is_caught(kind: str) -> None:
    """With what breaks, and where."""
    record, change, said = BREAKING[kind]
    assert said in "; ".join(after(record, change))


@pytest.mark.parametrize("kind", FITTING)
def test_a_change_that_breaks_nobody_is_let_through(kind: str) -> None:
    """Otherwise the check would be switched off the first time it is in the way."""
    assert after(*FITTING[kind]) == []


@pytest.mark.parametrize("record", [*INPUTS, *OUTPUTS])
def test_examples_of_the_released_form_are_taken_with_unknown_fields(record: str) -> None:
    """Consumers are open, today's and the released: a field that nobody knows spoils no valid record."""
    valid = [case["value_json"] for case in load(record) if case["expect"].get("valid") and "value_json" in case]
    assert valid
    for schema in (schema_of(record), released(record)):
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for value in valid:
            assert validator.is_valid({**value, "from_the_future": {"deep": [1, None]}})


def test_the_gate_takes_inputs_with_unknown_fields_as_if_they_were_not_there() -> None:
    """The code keeps to what the schemas say."""
    unknown = {"from_the_future": {"deep": [1, None]}, "shadow": True}
    press = orjson.dumps({"account_id": "acc-42", "press_id": "p-7", "freeze_seconds": 90_000, **unknown})
    assert parse_press(b"acc-42", press, 0, 0) == Press("acc-42", "p-7", 90_000)
    request = orjson.dumps({"withdrawal_id": "w-1", "account_id": "acc-42", **unknown})
    assert parse_request(b"acc-42", request) == WithdrawalRequest("w-1", "acc-42")


def test_what_our_own_publishers_send_keeps_to_the_closed_schemas() -> None:
    """Producers are closed: no field that the schema does not name."""
    sent = {
        "panic-button": [encode_press("acc-42", "p-7", seconds) for seconds in (None, 86_400)],
        "withdrawal-request": [encode_request("w-1", "acc-42", "USDT", "12.5", "2026-11-22T09:00:00.900Z")],
    }
    for record, values in sent.items():
        validator = jsonschema_rs.Draft202012Validator(closed(schema_of(record)), validate_formats=True)
        for value in values:
            assert [error.message for error in validator.iter_errors(json.loads(value))] == []
            assert not validator.is_valid({**json.loads(value), "from_the_future": 1})


def test_what_the_gate_writes_keeps_to_the_closed_schemas() -> None:
    """The fields that its encoders write are those of the schema, the mark of shadow mode in that mode only."""
    at = "2026-11-22T09:00:01.250Z"
    schema = schema_of("withdrawal-decision")
    for shadow in (False, True):
        form = approval_form(decided_at=at, valid_until=at, partition=3, freeze_view="0:41", shadow=shadow)
        approval = json.loads(form % (b'"w-1"', b'"acc-42"', 1042, b"{}"))
        assert jsonschema_rs.is_valid(closed(schema), approval)
        assert schema["properties"].keys() - approval.keys() == (set() if shadow else {"shadow"})
        assert approval.get("shadow", False) is shadow
    status = encode_status(
        account_id="acc-42",
        status=Status.FROZEN,
        press_id="p-7",
        frozen_since_ms=0,
        frozen_until_ms=1,
        asked_seconds=1,
        applied_seconds=1,
        adjusted=None,
        at_ms=0,
    )
    assert jsonschema_rs.is_valid(closed(schema_of("freeze-status")), json.loads(status))
    assert json.loads(status).keys() == schema_of("freeze-status")["properties"].keys()
