"""What commands print: JSON lines when piped, a readable form on a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def harmless(text: str) -> str:
    """Replace what a terminal would act on: ids come from outside."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def emit(record: Mapping[str, Any]) -> None:
    """Print one record."""
    if not sys.stdout.isatty():
        sys.stdout.write(orjson.dumps(record).decode() + "\n")
        sys.stdout.flush()
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in record.items():
        shown = orjson.dumps(value).decode() if isinstance(value, dict | list) else "" if value is None else str(value)
        # Text, not str: no markup either.
        table.add_row(
            Text(name, style="bold"),
            Text(harmless(shown)),
        )
    Console().print(table)


def write_file(option: str, path: Path, text: str, mode: int = 0o666) -> None:
    """Write the file that an option names, made with `mode`; raise SettingsError when it can't be written."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(text.encode())
    except OSError as error:
        raise SettingsError(option, str(path), f"the path of a file that can be written ({error.strerror})") from error
