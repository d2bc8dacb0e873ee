"""docs/connect.md, followed on a real gate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema_rs

from tests.connect.page import ROOT, Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

# With the port of its rail.
PAGE = Page("connect.md", ["9100"])


def test_every_command_and_program_of_the_page_does_what_it_says(deploy: Callable[..., Deployment]) -> None:
    """From nothing to a rejected, an approved and a paid withdrawal; each line has its output and its exit code."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    PAGE.follow(gate)


def test_the_examples_of_the_page_keep_to_their_schemas() -> None:
    """They are copied: each is valid and names no field that the schema doesn't know."""
    examples = PAGE.blocks("json")
    assert {kind for kind, _ in examples} == {"panic-button", "withdrawal-request"}
    for kind, text in examples:
        schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text("utf-8"))
        example = json.loads(text)
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(example)
        assert example.keys() <= schema["properties"].keys()
