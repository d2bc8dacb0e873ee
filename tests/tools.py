"""Programs and packages of other people that some tests need, beside Python: where they are, and how to get them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Debian's package for each.
PACKAGES = {
    "promtool": "prometheus",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "node": "nodejs",
    "npm": "npm",
    "kcat": "kcat",
}
# `make tools` installs these on CI.
ON_CI = ("promtool", "chromium", "chromedriver")
FETCH_SECONDS = 150


def tool(name: str) -> str:
    """Return the program's path. Missing, it skips the test and says what to install; on CI it may have to fail it."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not on the PATH (Debian and Ubuntu: apt-get install {PACKAGES[name]})"
        if os.environ.get("CI") and name in ON_CI:
            pytest.fail(message)
        pytest.skip(message)
    return path


def node_modules(*packages: str) -> Path:
    """Return a folder node_modules with npm packages, each as `name@version`; fetched once on a machine."""
    folder = cache_folder() / "tests" / ("npm-" + "-".join(packages).replace("@", "").replace("/", "-"))
    run = [tool("npm"), "install", "--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    _fetch_or_skip(folder, [*run, "--prefix", str(folder), *packages])
    return folder / "node_modules"


def jar(coordinate: str) -> str:
    """Return the path of a Java archive, named as `group:name:jar:version`; fetched once on a machine."""
    folder = cache_folder() / "tests" / ("jar-" + "-".join(coordinate.split(":")[1::2]))
    _fetch_or_skip(folder, [sys.executable, "-m", "tests.fetch_jars", str(folder), coordinate])
    (found,) = folder.rglob("*.jar")
    return str(found)


def _fetch_or_skip(folder: Path, command: list[str]) -> None:
    """Let a command fill a folder once; what can't be had here skips the test, and says why."""
    try:
        fetch_once(folder, lambda: run_to_fetch(command))
    except FetchError as error:
        pytest.skip(f"{folder.name} could not be fetched: {error}")


class FetchError(Exception):
    """Something could not be fetched; the message says why."""


def cache_folder() -> Path:
    """Return where the project keeps on a machine what it fetched."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "withdrawal-gate"


def fetch_once(folder: Path, fill: Callable[[], None]) -> None:
    """Let `fill` fill a folder, one process at a time; what was broken off is begun anew."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = folder / "whole"
        if whole.exists():
            return
        shutil.rmtree(folder)
        folder.mkdir()
        fill()
        whole.touch()


def run_to_fetch(command: list[str]) -> None:
    """Run a command that fetches something."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise FetchError(error) from error
    if done.returncode:
        raise FetchError(done.stderr.strip()[-500:])
