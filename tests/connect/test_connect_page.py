"""docs/connect.md as a team follows it: its programs are saved, its commands typed in their order, on a real gate."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema_rs

from tests.processes import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "connect.md"
# The port of the page's rail.
RAIL_PORT = "9100"
ENDED = "-- ended with "
SECONDS = 120


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the page's blocks of a language: what the fence says they are, and their text."""
    return re.findall(rf"^```{language}(?: +([^\n]+))?\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def typed() -> list[tuple[str, list[str], int]]:
    """Return each command with what it has to say, and its exit code."""
    commands = []
    for line in "".join(text for _, text in blocks("sh")).splitlines():
        command, _, comment = line.partition("  # ")
        said = re.findall(r'"[^"]*"?(?:: [^,]+)?', comment)
        code = re.search(r"exit code (\d)", comment)
        commands.append((command.strip(), said, int(code[1]) if code else 0))
    return commands


def folder_of(gate: Deployment) -> Path:
    """Return a folder that looks like the project's, with the page's programs saved in it."""
    folder = gate.folder / "checkout"
    folder.mkdir()
    for name in ("docs", "schemas"):
        (folder / name).symlink_to(ROOT / name)
    for name, text in blocks("python"):
        (folder / name).write_text(text, "utf-8")
    return folder


def test_every_command_and_program_of_the_page_does_what_it_says(deploy: Callable[..., Deployment]) -> None:
    """From nothing to a rejected, an approved and a paid withdrawal; each line has its output and its exit code."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    commands = typed()
    script = "".join(f"{command}\necho '{ENDED}'$?\n" for command, _, _ in commands)
    told = gate.folder / "told.txt"
    with told.open("w") as out:
        shell = subprocess.Popen(
            ["/bin/bash", "-c", script.replace(RAIL_PORT, str(free_port()))],
            env={**gate.environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            cwd=folder_of(gate),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: shell.poll() is not None, "the end of the page", SECONDS)
    finally:
        os.killpg(shell.pid, signal.SIGKILL)  # what the page leaves running in the background, too
        shell.wait(10)
    answers = re.findall(rf"(.*?){ENDED}(\d+)\n", told.read_text("utf-8"), re.DOTALL)
    assert len(answers) == len(commands) > 10, told.read_text("utf-8")
    for (command, said, code), (answer, ended) in zip(commands, answers, strict=True):
        assert int(ended) == code, f"{command}: exit code {ended}\n{answer}"
        # Some of the programs print JSON with blanks, some without.
        spaced = re.sub(r'": *', '": ', answer)
        assert [words for words in said if words not in spaced] == [], f"{command}\n{answer}"


def test_the_examples_of_the_page_keep_to_their_schemas() -> None:
    """They are copied: each is valid and names no field that the schema doesn't know."""
    examples = blocks("json")
    assert {kind for kind, _ in examples} == {"panic-button", "withdrawal-request"}
    for kind, text in examples:
        schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text("utf-8"))
        example = json.loads(text)
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(example)
        assert example.keys() <= schema["properties"].keys()
