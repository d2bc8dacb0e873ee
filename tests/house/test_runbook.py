"""docs/runbook.md, held against the rehearsals that it names."""

from __future__ import annotations

import re
from pathlib import Path

from tests.rehearsals.__main__ import REHEARSALS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_change_of_the_runbook_names_the_rehearsal_of_its_name_and_no_other() -> None:
    """What is read at three in the morning has been played before, by a command that exists."""
    changes = (DOCS / "runbook.md").read_text("utf-8").partition("\n## Changes\n")[2]
    found = re.findall(r"^### (.+)\n((?:(?!### ).*\n)+)", changes, re.MULTILINE)
    named = {heading: re.findall(r"`make rehearse ARGS=([a-z-]+)`", text) for heading, text in found}
    assert {name for names in named.values() for name in names} == REHEARSALS.keys()
    for heading, names in named.items():
        assert names == [heading.lower().replace(" ", "-")]
