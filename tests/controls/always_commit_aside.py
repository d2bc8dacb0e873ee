"""No safeguard is left out here: the gate that decides the next batch beside every commit, however small."""

from __future__ import annotations

from streams import gate
from streams.cli import main

gate.COMMIT_ASIDE_FROM = 1

if __name__ == "__main__":
    main()
