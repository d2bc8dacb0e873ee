"""The commands that README and pages show, typed in their order on a real gate.

docs/connect.md and docs/shadow.md have tests of their own, with the programs on them; `make` and what runs until it is
ended is typed by nobody here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deployment import Deployment

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/audit.md", "docs/capacity.md", "docs/support.md")
UNTIL_ENDED = ("withdrawal-gate watch", "withdrawal-gate worker")
SECONDS = 60


def examples(page: str) -> Iterator[tuple[str, int]]:
    """Yield each command of a page's shell blocks with its exit code, 0 unless the comment says otherwise."""
    text = (ROOT / page).read_text("utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            command, _, comment = line.partition("  # ")
            code = re.search(r"exit code (\d)", comment)
            if command.startswith("withdrawal-gate ") and not command.startswith(UNTIL_ENDED):
                yield command.strip(), int(code[1]) if code else 0


def test_the_commands_that_the_pages_show_do_what_they_say(deploy: Callable[..., Deployment]) -> None:
    """Each ends with the exit code that stands beside it."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    typed = [(page, *example) for page in PAGES for example in examples(page)]
    assert {page for page, _, _ in typed} == set(PAGES)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for page, command, code in typed:
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            env={**gate.environment, "PATH": path},
            cwd=gate.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{page}: {command}\n{done.stdout}{done.stderr}"
