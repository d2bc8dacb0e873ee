"""Fetch single jars from where the development broker gets Kafka's; what they need beside them is the caller's matter.

python -m tests.fetch_jars FOLDER GROUP:NAME:jar:VERSION...
"""

from __future__ import annotations

import sys
from pathlib import Path

from jgo.maven import MavenContext


def main() -> None:
    """Leave them below the folder."""
    context = MavenContext(repo_cache=Path(sys.argv[1]))
    for coordinate in sys.argv[2:]:
        context.create_dependency(f"{coordinate}:compile").artifact.resolve()


if __name__ == "__main__":
    main()
