"""A page of docs/ as a team follows it: its programs are saved, its commands typed in their order, on a real broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.deployment import Deployment

ROOT = Path(__file__).parents[2]
ENDED = "-- ended with "
SECONDS = 120


class Page:
    """A page by its name, with the ports that it takes."""

    def __init__(self, name: str, ports: Iterable[str]) -> None:
        """Read it."""
        self._text = (ROOT / "docs" / name).read_text("utf-8")
        self._ports = ports

    def blocks(self, language: str) -> list[tuple[str, str]]:
        """Return the blocks of a language: what the fence says they are, and their text."""
        return re.findall(rf"^```{language}(?: +([^\n]+))?\n(.*?)^```$", self._text, re.MULTILINE | re.DOTALL)

    def typed(self) -> list[tuple[str, list[str], int]]:
        """Return each command with what it has to say, and its exit code."""
        commands = []
        for line in "".join(text for _, text in self.blocks("sh")).splitlines():
            command, _, comment = line.partition("  # ")
            said = re.findall(r'"[^"]*"?(?:: [^,]+)?', comment)
            code = re.search(r"exit code (\d)", comment)
            commands.append((command.strip(), said, int(code[1]) if code else 0))
        return commands

    def follow(self, gate: Deployment) -> None:
        """Type every command; each has its output and its exit code."""
        commands = self.typed()
        script = "".join(f"{command}\necho '{ENDED}'$?\n" for command, _, _ in commands)
        for port in self._ports:
            script = script.replace(port, str(free_port()))
        told = gate.folder / "told.txt"
        with told.open("w") as out:
            shell = subprocess.Popen(
                ["/bin/bash", "-c", script],
                env={**gate.environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
                cwd=self._folder(gate),
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

    def _folder(self, gate: Deployment) -> Path:
        """Return a folder that looks like the project's, with the page's programs saved in it."""
        folder = gate.folder / "checkout"
        folder.mkdir()
        for name in ("docs", "schemas"):
            (folder / name).symlink_to(ROOT / name)
        for name, text in self.blocks("python"):
            (folder / name).write_text(text, "utf-8")
        return folder
