"""A line of the JSON log: whatever is said, it is one object on one line, with the fields that the README names."""

from __future__ import annotations

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from streams.logs import FIELDS, JsonLines

# Any text, half a surrogate pair too: a path that is no UTF-8 holds some.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def record_of(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    """Return what a logger hands to its handler."""
    return logging.getLogger("streams.x").makeRecord("streams.x", 30, "x.py", 1, message, arguments, None, extra=more)


@given(said=ANY_TEXT, topic=ANY_TEXT)
def test_any_message_is_one_object_on_one_line(said: str, topic: str) -> None:
    """Line breaks, escape sequences and half characters are written as JSON escapes, and read back the same."""
    line = JsonLines().format(record_of("%s", said, topic=topic, partition=3))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert list(found) == ["ts", "level", "logger", "message", "topic", "partition"]
    assert (found["level"], found["logger"], found["message"]) == ("warning", "streams.x", said)
    assert (found["topic"], found["partition"]) == (topic, 3)


def test_the_time_of_a_line_is_utc_with_milliseconds() -> None:
    """As in every record that the gate writes."""
    record = record_of("said")
    record.created = 1_763_802_001.25
    assert json.loads(JsonLines().format(record))["ts"] == "2025-11-22T09:00:01.250Z"


def test_only_the_named_fields_of_extra_get_into_the_log() -> None:
    """What a library adds to its lines can hold anything."""
    named = dict.fromkeys(FIELDS, 1)
    found = json.loads(JsonLines().format(record_of("said", **named, account_id="acc-42", data={"value": "x"})))
    assert found.keys() == {"ts", "level", "logger", "message", *FIELDS}


def test_an_exception_stands_in_its_line() -> None:
    """With its trace, as one text."""
    record = record_of("failed")
    try:
        json.loads("{")
    except ValueError:
        record.exc_info = sys.exc_info()
    found = json.loads(JsonLines().format(record))
    assert found["exception"].startswith("Traceback")
    assert "JSONDecodeError" in found["exception"]
