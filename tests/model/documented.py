"""What docs/proof.md says of the model, for the tests that hold the two together."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PROOF = Path(__file__).parents[2] / "docs" / "proof.md"


@cache
def proof() -> str:
    """Return the page."""
    return PROOF.read_text("utf-8")


@cache
def rows(first_header: str) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the one table whose first column has that header."""
    lines = proof().splitlines()
    found = [number for number, line in enumerate(lines) if line.startswith(f"| {first_header} |")]
    assert len(found) == 1, f"{len(found)} tables begin with a column {first_header}"
    body = lines[found[0] + 2 :]
    end = next((number for number, line in enumerate(body) if not line.startswith("|")), len(body))
    return tuple(tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in body[:end])


def states(name: str) -> int:
    """Return how many states the page gives for a case of the model."""
    (row,) = [row for row in (*rows("scenario"), *rows("variant")) if row[0] == name]
    return int(row[2 if row in rows("scenario") else 3].replace(",", ""))
