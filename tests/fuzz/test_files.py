"""Files that people name to us, in any state: a settings file is taken or refused, evidence holds or does not."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from streams.errors import EXIT_NO, SettingsError
from streams.inspect.evidence import FIRST_HASH, TOPICS, next_hash, verify
from streams.settings import Settings
from tests.fuzz.mutations import in_bytes, record

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_261_125
MISSING = object()
FILES = {
    "GATE_KAFKA_OPTIONS": b"# ours\nclient.id=gate\nsecurity.protocol=plaintext\nretries=5\n",
    "GATE_DECISION_KEY_FILE": b"new " + b"0b" * 32 + b"\n# rotated\nold " + b"0a" * 32 + b"\n",
    "GATE_POLICY": b'[{"effective_from":"2026-01-01T00:00:00Z","min_seconds":86400,'
    b'"default_seconds":172800,"max_seconds":604800}]',
}
EVIDENCE = b'{"hash":"00","record":{"account_id":"acc-42"}}\n{"hash":"01","record":{"records":0}}\n'


def taken(setting: str, path: Path) -> bool:
    """Tell whether a settings file is taken; any exception but a refusal passes through."""
    try:
        Settings.from_environment({setting: str(path)})
    except SettingsError:
        return False
    return True


@pytest.mark.parametrize("setting", FILES)
def test_a_settings_file_is_taken_or_refused_whatever_it_holds(setting: str, tmp_path: Path) -> None:
    """Never an exception of another kind; sound as it is, it is taken."""
    path = tmp_path / "file"
    path.write_bytes(FILES[setting])
    assert taken(setting, path)
    for number in range(300):
        path.write_bytes(in_bytes(Random(number), FILES[setting]))
        taken(setting, path)


@pytest.mark.parametrize("option", ["error_cb", "oauth_cb", "stats_cb", "logger", "default.topic.config"])
def test_an_option_whose_value_is_an_object_of_python_is_refused(option: str, tmp_path: Path) -> None:
    """The client would end in an exception of its own, some of them only once it runs."""
    path = tmp_path / "file"
    path.write_text(f"{option}=x\n")
    assert not taken("GATE_KAFKA_OPTIONS", path)


def test_evidence_that_was_not_written_by_us_does_not_hold(tmp_path: Path) -> None:
    """Not JSON is refused, anything else is a finding: deeper than we write, bytes changed, records for lines."""
    path = tmp_path / "evidence"
    deep = b'{"hash":"00","record":{"a":' + b"[" * 300 + b"]" * 300 + b"}}\n"
    changed = [in_bytes(Random(number), EVIDENCE) for number in range(300)]
    records = [record(SEED, number)[1] or b"" for number in range(300)]
    for found in (deep, *changed, *records):
        path.write_bytes(found)
        try:
            assert verify(Settings.from_environment({}), path) == EXIT_NO
        except SettingsError as refused:
            assert "evidence" in str(refused)  # noqa: PT017  (either way will do)


READ = {"id": "t", "read_to": {"0": 1}}
OPENING = {"account_id": "a", "since": None, "until": None, "cluster_id": "c", "topics": dict.fromkeys(TOPICS, READ)}
PLACED = {"topic": TOPICS[0], "partition": 0, "offset": 0}
NO_NUMBERS: tuple[Any, ...] = (None, True, "0", 0.5, [], {})
UNSOUND_ENDS: tuple[Any, ...] = (None, [], 1, {"0": "1"}, {"0": None})
UNSOUND_READ: tuple[Any, ...] = (
    *(None, 1, "id", [], {}, {"id": "t"}),
    *({"id": "t", "read_to": ends} for ends in UNSOUND_ENDS),
)
UNSOUND: dict[str, tuple[Any, ...]] = {
    "account_id": (None, 1, [], {}),
    "since": (1, "yesterday", [], {}),
    "until": (1, "yesterday", [], {}),
    "cluster_id": (),
    "topics": (
        *(None, 1, "x", [], {}, {TOPICS[0]: READ}),
        *(dict.fromkeys(TOPICS, unsound) for unsound in UNSOUND_READ),
    ),
    "topic": (None, 1, "elsewhere", [], {}),
    "partition": NO_NUMBERS,
    "offset": NO_NUMBERS,
}


def forged(**changed: object) -> bytes:
    """Return evidence of one record, written by somebody who knows how the chain is made."""
    before, lines = FIRST_HASH, []
    for sound in (OPENING, PLACED, {"records": 1}):
        found = {name: changed.get(name, value) for name, value in sound.items() if changed.get(name) is not MISSING}
        before = next_hash(before, found)
        lines.append(orjson.dumps({"hash": before, "record": found}))
    return b"\n".join(lines)


@pytest.mark.parametrize("name", UNSOUND)
def test_evidence_with_a_sound_chain_over_unsound_records_is_a_finding(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing or of another kind is told before a broker is asked, and never as an exception."""
    path = tmp_path / "evidence"
    for unsound in (MISSING, *UNSOUND[name]):
        path.write_bytes(forged(**{name: unsound}))
        assert verify(Settings.from_environment({}), path) == EXIT_NO
        assert f"line {1 if name in OPENING else 2} does not say" in capsys.readouterr().out, unsound
