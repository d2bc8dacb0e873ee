"""docs/runbook.md and docs/transcripts/on-call.md, held against the rehearsals and incidents that they name."""

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy.test_alerts import sections
from tests.rehearsals.__main__ import REHEARSALS
from tests.rehearsals.on_call import INCIDENTS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_change_of_the_runbook_names_the_rehearsal_of_its_name_and_no_other() -> None:
    """What is read at three in the morning has been played before, by a command that exists."""
    changes = (DOCS / "runbook.md").read_text("utf-8").partition("\n## Changes\n")[2]
    found = re.findall(r"^### (.+)\n((?:(?!### ).*\n)+)", changes, re.MULTILINE)
    named = {heading: re.findall(r"`make rehearse ARGS=([a-z-]+)`", text) for heading, text in found}
    assert {name for names in named.values() for name in names} == REHEARSALS.keys()
    for heading, names in named.items():
        assert names == [heading.lower().replace(" ", "-")]


def test_the_transcript_of_the_nights_on_call_has_every_incident_and_its_links_lead_somewhere() -> None:
    """What `python -m tests.rehearsals.on_call` plays, in its order, with the sections that were followed."""
    page = (DOCS / "transcripts" / "on-call.md").read_text("utf-8")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    played = [name.replace("-", " ").capitalize() for name in INCIDENTS]
    assert headings[-len(played) :] == played
    anchors = sections()
    for path, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", page):
        assert (DOCS / "transcripts" / path).exists(), path
        assert not anchor or anchor in anchors, anchor
