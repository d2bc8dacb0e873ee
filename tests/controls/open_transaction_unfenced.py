"""Dies in its first transaction as well, but has a transactional id of its own: nobody ends what it left open."""

from __future__ import annotations

from streams.cli import main
from tests.controls import no_transactional_id, open_transaction  # noqa: F401  (importing each does it)

if __name__ == "__main__":
    main()
