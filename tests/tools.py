"""Programs and packages of other people that some tests need, beside Python: where they are, and how to get them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Debian's package for each.
PACKAGES = {
    "promtool": "prometheus",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "kcat": "kcat",
    "node": "nodejs",
    "npm": "npm",
}
FETCH_SECONDS = 150


def tool(name: str) -> str:
    """Return the program's path. Missing, it fails the test on CI and skips it elsewhere, saying what to install."""
    path = shutil.which(name)
    if path is None:
        lack(f"{name} is not on the PATH (Debian and Ubuntu: apt-get install {PACKAGES[name]})")
    return path


def node_modules(*packages: str) -> Path:
    """Return a folder node_modules with npm packages, each as `name@version`; fetched once on a machine."""
    npm = tool("npm")
    folder = _cache("npm-" + "-".join(packages).replace("@", "").replace("/", "-"))

    def fetch() -> None:
        run = [npm, "install", "--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        _fetch([*run, "--prefix", str(folder), *packages])

    _once(folder, fetch)
    return folder / "node_modules"


def jar(coordinate: str) -> Path:
    """Return a Java archive, `group:artifact:version`, without what it depends on; fetched once on a machine."""
    from jgo.maven import MavenContext  # noqa: PLC0415  of the development broker, and slow to import

    group, artifact, version = coordinate.split(":")
    folder = _cache(f"jar-{artifact}-{version}")

    def fetch() -> None:
        MavenContext(repo_cache=folder).create_dependency(
            f"{group}:{artifact}:jar:{version}:compile"
        ).artifact.resolve()

    _once(folder, fetch)
    return next(folder.rglob(f"{artifact}-{version}.jar"))


def lack(message: str) -> NoReturn:
    """Fail the test on CI, skip it elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _cache(name: str) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "withdrawal-gate" / "tests" / name


def _once(folder: Path, fetch: Callable[[], None]) -> None:
    """Fetch into a folder, one process at a time; a fetch that was broken off is begun anew."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = folder / "whole"
        if whole.exists():
            return
        shutil.rmtree(folder)
        folder.mkdir()
        try:
            fetch()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            lack(f"{folder.name} could not be fetched: {error}")
        whole.touch()


def _fetch(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if done.returncode:
        message = done.stderr.strip()[-500:]
        raise RuntimeError(message)
