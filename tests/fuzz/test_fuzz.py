"""A small part of `python -m tests.fuzz`, and parsers broken on purpose, which it must catch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from schemas import panic_button, wire, withdrawal_request
from tests.fuzz import search
from tests.fuzz.__main__ import main
from tests.fuzz.mutations import record

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SEED = 20_261_125
RECORDS = 10_000


def test_no_fuzzed_record_escapes_a_reader() -> None:
    """The same records in each run of the suite; other seeds are for the command."""
    escaped = search.fuzz(SEED, range(RECORDS), 1)
    assert escaped is None, f"again: python -m tests.fuzz --seed {SEED} --first {escaped} --records 1"


def test_two_processes_share_the_records_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new process is to run has to be found there: else it would wait for ever."""
    monkeypatch.setattr(search, "BLOCK", 50)
    assert search.fuzz(SEED, range(200), 2) is None


def test_a_record_is_made_again_by_its_number_alone() -> None:
    """What escaped is had back without the records before it, and no two seeds give the same ones."""
    whole = [record(SEED, number) for number in range(200)]
    assert [record(SEED, 150)] == whole[150:151]
    assert [record(SEED + 1, number) for number in range(200)] != whole


def test_another_process_makes_the_same_records() -> None:
    """Whatever its hashes: else the command that is printed would not repeat what escaped."""
    show = f"from tests.fuzz.mutations import record; print([record({SEED}, number) for number in range(200)])"
    shown = {
        subprocess.run(
            [sys.executable, "-c", show],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(shown) == 1


def no_text_fault(name: str, found: object, max_characters: int) -> str | None:
    """Take any text for an id, however long."""
    del max_characters
    return None if isinstance(found, str) else f"{name} is missing"


def uncaught(value: bytes | None) -> dict[str, object] | wire.Fault:
    """Let the JSON parser's own exception through."""
    found: object = orjson.loads(value or b"null")
    return found if isinstance(found, dict) else wire.Fault(wire.FaultReason.UNREADABLE, "it is no object")


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (withdrawal_request, "nests_too_deep", lambda _value: False),
        (withdrawal_request, "text_fault", no_text_fault),
        (panic_button, "text_fault", no_text_fault),
        (panic_button, "parse_object", uncaught),
    ],
    ids=["a decision too deep to read", "ids of a request beyond bounds", "ids of a press beyond bounds", "exception"],
)
def test_a_parser_broken_on_purpose_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: object,
    name: str,
    broken: Callable[..., object],
) -> None:
    """The run ends at the record with 1, and prints the command that repeats it alone, to the same end."""
    monkeypatch.setattr(module, name, broken)
    assert main(["--records", str(RECORDS), "--seed", str(SEED), "--processes", "1"]) == 1
    again = capsys.readouterr().out.splitlines()[-1].partition("python -m tests.fuzz ")[2]
    assert again.endswith(" --records 1")
    assert main([*again.split(), "--processes", "1"]) == 1
