"""`python -m streams` is `withdrawal-gate`."""

from __future__ import annotations

from streams.cli import main

main(prog_name="withdrawal-gate")
