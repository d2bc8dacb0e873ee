"""Leaves all three fences out."""

from __future__ import annotations

from streams.cli import main
from tests.controls import no_group_metadata, no_tail, no_transactional_id  # noqa: F401  (importing each leaves it out)

if __name__ == "__main__":
    main()
