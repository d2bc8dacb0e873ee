"""Readers of command-line arguments for what runs long: every run is bounded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def between(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds: every run ends."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            message = f"{text!r} is not a whole number from {least} to {most}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return read
