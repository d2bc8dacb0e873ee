"""Any bytes give a record or a `Fault`, never an exception; what is repeated in a decision can be read by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.panic_button import MAX_REPORTED_SECONDS, Press, encode_press, parse_press
from schemas.wire import (
    ACCOUNT_ID_MAX_CHARACTERS,
    MAX_ANSWERED_CHARACTERS,
    MAX_NESTING,
    MAX_TIME_MS,
    PRESS_ID_MAX_CHARACTERS,
    WITHDRAWAL_ID_MAX_CHARACTERS,
    Fault,
    nests_too_deep,
    parse_rfc3339,
    rfc3339,
)
from schemas.withdrawal_decision import source_offset
from schemas.withdrawal_request import WithdrawalRequest, encode_request, parse_request
from streams.inspect.audit.decisions import view_of
from streams.inspect.audit.letters import letter_key
from tests.wire.sound import check_press, check_request

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MEGABYTE = 1024 * 1024
FIELDS = ("account_id", "press_id", "freeze_seconds", "withdrawal_id", "amount", "note", "")

any_run = settings(max_examples=300, deadline=None, print_blob=True)

ids = st.text(max_size=20) | st.sampled_from(("acc-42", "a" * 256, "a" * 257, "w" * 1024, "w" * 1025, "\0", "🧊" * 128))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ids
)
anything: SearchStrategy[Any] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
bodies = st.dictionaries(st.sampled_from(FIELDS), anything)
likely_bodies = st.fixed_dictionaries({"account_id": ids, "withdrawal_id": ids}, optional={"amount": anything})
# Pieces of JSON in any order, written by hand, so that broken text is as likely as sound text.
MARKS = (b"{", b"}", b"[", b"]", b":", b",", b'"', b"-", b" ", b"\0", b"\\", b"\\ud800", b"\xff", b"\xef\xbb\xbf")
WORDS = (
    b'"account_id"',
    b'"withdrawal_id"',
    b'"freeze_seconds"',
    b'"acc-42"',
    b"1",
    b"1e30",
    b"1e400",
    b"NaN",
    b"null",
)
pieces = st.lists(st.sampled_from(MARKS + WORDS), max_size=30).map(b"".join)
values = st.none() | st.binary(max_size=200) | pieces | (bodies | likely_bodies | anything).map(orjson.dumps)
keys = st.none() | st.binary(max_size=40) | ids.map(str.encode)


@any_run
@given(keys, values)
@example(None, b'{"account_id":"acc-42","freeze_seconds":' + b"9" * 5000 + b"}")
@example(b"acc-42", b'{"freeze_seconds":-1e308,"account_id":"acc-42"}')
def test_any_bytes_give_a_press_or_a_fault(key: bytes | None, value: bytes | None) -> None:
    """Nothing that a publisher can send stops the worker."""
    check_press(key, value)


@any_run
@given(keys, values)
@example(None, b'{"withdrawal_id":"w-1","account_id":"acc-42","amount":' + b"9" * 300 + b"}")
@example(None, b'{"withdrawal_id":"w-1","account_id":"acc-42","amount":0.' + b"3" * 5000 + b"}")
@example(None, b' \n{"withdrawal_id":"w-1","account_id":"acc-42","request":{"decision":"approved"}}\n ')
def test_any_bytes_give_a_request_or_a_fault(key: bytes | None, value: bytes | None) -> None:
    """Nothing that a publisher can send stops the worker, or makes a decision that the engine can't read."""
    check_request(key, value)


@any_run
@given(keys, st.one_of(likely_bodies, st.fixed_dictionaries({"account_id": ids, "withdrawal_id": ids, "x": anything})))
def test_a_request_with_ids_is_always_answered_to(key: bytes | None, body: dict[str, Any]) -> None:
    """Ids of 1 to 1,024 characters get a decision, whatever else the record holds."""
    request = parse_request(key, orjson.dumps(body))
    answered = all(1 <= len(body[name]) <= MAX_ANSWERED_CHARACTERS for name in ("withdrawal_id", "account_id"))
    assert isinstance(request, WithdrawalRequest) is answered
    check_request(key, orjson.dumps(body))


@any_run
@given(keys, st.dictionaries(st.sampled_from(FIELDS), anything))
def test_a_press_that_names_an_account_is_never_refused(key: bytes | None, body: dict[str, Any]) -> None:
    """An account id that can be told freezes, whatever length and press id stand beside it."""
    account_id = body.get("account_id")
    press = parse_press(key, orjson.dumps(body), 3, 1042)
    if isinstance(account_id, str) and 1 <= len(account_id) <= ACCOUNT_ID_MAX_CHARACTERS:
        assert isinstance(press, Press)
        assert press.account_id == account_id
    elif key is not None and key.isascii() and 1 <= len(key) <= ACCOUNT_ID_MAX_CHARACTERS:
        assert isinstance(press, Press)
        assert press.account_id == key.decode()


BIG = {
    "text": b'{"account_id":"acc-42","withdrawal_id":"w-1","note":"' + b"x" * MEGABYTE + b'"}',
    "escapes": b'{"account_id":"acc-42","withdrawal_id":"w-1","note":"' + b"\\u0000" * (MEGABYTE // 6) + b'"}',
    "an id": b'{"account_id":"' + b"a" * MEGABYTE + b'","withdrawal_id":"w-1"}',
    "both ids": b'{"account_id":"' + b"a" * MEGABYTE + b'","withdrawal_id":"' + b"w" * MEGABYTE + b'"}',
    "a number": b'{"account_id":"acc-42","withdrawal_id":"w-1","freeze_seconds":' + b"9" * MEGABYTE + b"}",
    "decimals": b'{"account_id":"acc-42","withdrawal_id":"w-1","freeze_seconds":1.' + b"9" * MEGABYTE + b"}",
    "fields": b'{"account_id":"acc-42","withdrawal_id":"w-1"' + b',"a":1' * (MEGABYTE // 6) + b"}",
    "elements": b'{"account_id":"acc-42","withdrawal_id":"w-1","a":[1' + b",[]" * (MEGABYTE // 3) + b"]}",
    "white space": b" " * MEGABYTE + b'{"account_id":"acc-42","withdrawal_id":"w-1"}' + b"\n" * MEGABYTE,
    "zeros": b"\0" * MEGABYTE,
    "open arrays": b"[" * MEGABYTE,
    "open objects": b'{"a":' * (MEGABYTE // 5),
    "invalid UTF-8": b"\xff" * MEGABYTE,
}


@pytest.mark.parametrize("value", BIG.values(), ids=BIG.keys())
@pytest.mark.parametrize(
    "key", [None, b"acc-42", b"k" * MEGABYTE, b"\xff" * MEGABYTE], ids=["none", "id", "long", "binary"]
)
def test_a_megabyte_is_read_like_anything_else(key: bytes | None, value: bytes) -> None:
    """Size alone breaks nothing."""
    check_press(key, value)
    check_request(key, value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [98, 99, 100, 101, 989, 1022, 1023, 1024, 1025, 2048, 100_000])
def test_a_decision_never_nests_deeper_than_others_read(depth: int, opening: bytes, closing: bytes) -> None:
    """A request is repeated in its decision up to a depth of 100; one that is deeper is rejected without it."""
    inner = opening * depth + (b"0" if closing == b"}" else b"") + closing * depth
    value = b'{"account_id":"acc-42","withdrawal_id":"w-1","a":' + inner + b"}"
    check_press(None, value)
    check_request(None, value)
    request = parse_request(None, value)
    if isinstance(request, WithdrawalRequest):
        assert request.embeddable is (depth + 1 <= MAX_NESTING)
    else:
        assert depth >= 1023


@any_run
@given(anything)
def test_depth_is_told_without_counting_brackets_in_text(found: Any) -> None:  # noqa: ANN401  (any JSON)
    """Only nesting counts: neither text that holds brackets nor many arrays side by side."""

    def depth(value: object) -> int:
        if isinstance(value, dict):
            return 1 + max(map(depth, value.values()), default=0)
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    wide = [found, "[{" * 500, [[]] * 300]
    assert not nests_too_deep(orjson.dumps(wide))
    deep: Any = found
    for _ in range(MAX_NESTING - depth(found)):
        deep = [deep]
    assert not nests_too_deep(orjson.dumps(deep))
    assert nests_too_deep(orjson.dumps([deep]))


@any_run
@given(ids, ids, st.none() | st.integers(-MAX_REPORTED_SECONDS, MAX_REPORTED_SECONDS))
def test_a_press_is_read_back_as_it_was_written(account_id: str, press_id: str, seconds: int | None) -> None:
    """Our own publisher and reader agree, wherever the ids have an allowed length."""
    press = parse_press(account_id.encode(), encode_press(account_id, press_id, seconds), 0, 0)
    if 1 <= len(account_id) <= ACCOUNT_ID_MAX_CHARACTERS and 1 <= len(press_id) <= PRESS_ID_MAX_CHARACTERS:
        assert press == Press(account_id, press_id, seconds)


@any_run
@given(ids, ids, st.text(max_size=10))
def test_a_request_is_read_back_as_it_was_written(withdrawal_id: str, account_id: str, amount: str) -> None:
    """Our own publisher and reader agree, wherever the ids have an allowed length."""
    value = encode_request(withdrawal_id, account_id, "USDT", amount, rfc3339(0))
    request = parse_request(account_id.encode(), value)
    allowed = 1 <= len(withdrawal_id) <= WITHDRAWAL_ID_MAX_CHARACTERS
    if allowed and 1 <= len(account_id) <= ACCOUNT_ID_MAX_CHARACTERS:
        assert request == WithdrawalRequest(withdrawal_id, account_id)


@any_run
@given(st.integers(0, MAX_TIME_MS))
@example(0)
@example(999)
@example(MAX_TIME_MS)
def test_a_time_is_read_back_as_it_was_written(time_ms: int) -> None:
    """Milliseconds to text and back, over every time that RFC 3339 can name from 1970 on."""
    text = rfc3339(time_ms)
    assert parse_rfc3339(text) == time_ms
    assert len(text) == len("2026-11-22T09:00:01.250Z")
    assert text.endswith("Z")


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-11-22T09:00:01.250Z", 1_795_338_001_250),
        ("2026-11-22T09:00:01.2509Z", 1_795_338_001_250),
    ],
)
def test_a_time_with_an_offset_is_read(text: str, time_ms: int) -> None:
    """Any offset; what is finer than a millisecond is cut."""
    assert parse_rfc3339(text) == time_ms


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-22T09:00:00", "2026-11-22", "2026-13-01T00:00:00Z", "1795338001250"]
)
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    """A time without an offset could mean any of 24 hours."""
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


def test_a_time_past_the_year_9999_is_written_as_its_end() -> None:
    """Nothing that a policy allows can make a time that can't be written."""
    assert rfc3339(MAX_TIME_MS + 1) == rfc3339(2**62) == "9999-12-31T23:59:59.999Z"


def test_a_fault_repeats_nothing_of_the_record() -> None:
    """Details travel in headers and logs: they hold no account id, address or amount."""
    secret = "s3cr3t-acc"  # noqa: S105  (a stand-in)
    for value in (
        f'{{"account_id":"{secret}',
        f'{{"account_id":"{secret}"}} {secret}',
        f'{{"account_id":"{secret * 30}","withdrawal_id":"{secret * 30}"}}',
        f'{{"account_id":"{secret}","press_id":["{secret}"],"withdrawal_id":["{secret}"]}}',
        f'{{"{secret}":"{secret}"}}',
        f'["{secret}"]',
    ):
        for key in (None, b"other", secret.encode()):
            press, request = parse_press(key, value.encode(), 0, 0), parse_request(key, value.encode())
            fault = press if isinstance(press, Fault) else press.fault
            details = [
                fault.detail if fault else "",
                request.detail if isinstance(request, Fault) else request.wrong or "",
            ]
            assert not any(secret in detail for detail in details)


@pytest.mark.parametrize("digits", ["", "-1", "1_0", " 1", "\u0661", "\u00b2", "9" * 19, "9" * 4_301])
def test_a_source_that_names_no_offset_of_kafka_is_none(digits: str) -> None:
    """What another program wrote to an output is neither taken for a place nor an exception."""
    assert source_offset(f"withdrawal-request:3:{digits}", "withdrawal-request", 3) is None
    assert source_offset("withdrawal-request:3:1042", "withdrawal-request", 3) == 1042
    # The audit's readers of the same.
    assert view_of(f"0:41,1:{digits}") is view_of(f"0:41,{digits}:7") is None
    assert letter_key(f"withdrawal-request:3:{digits}") is letter_key(f"withdrawal-request:{digits}:1042") is None
    assert view_of("0:41,1:7") == {0: 41, 1: 7}
    assert letter_key("withdrawal-request:3:1042") is not None
