"""Programs of other people that some tests need, beside Python: where they are, and what to do when one is missing."""

from __future__ import annotations

import os
import shutil

import pytest

# Debian's package for each.
PACKAGES = {"promtool": "prometheus", "chromium": "chromium", "chromedriver": "chromium-driver"}


def tool(name: str) -> str:
    """Return the program's path. Missing, it fails the test on CI and skips it elsewhere, saying what to install."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not on the PATH (Debian and Ubuntu: apt-get install {PACKAGES[name]})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
