"""A payment rail for tests: it outlives the engine, notes each payment that it takes, and fails when it is told to.

It is the harsher of the two kinds that an engine may meet: it takes every payment that it is handed before `not_after`,
twice if it is handed twice, and answers look-ups.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that was taken."""

    withdrawal_id: str
    account_id: str
    at: datetime


@dataclass
class Rail:
    """What was paid, in order.

    `before` and `after` are called around the taking of a payment; when one says False, the rail breaks off there: the
    engine gets a 503 and can't know whether the payment was taken.
    """

    payments: list[Payment] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    before: Callable[[], bool] = lambda: True
    after: Callable[[], bool] = lambda: True
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, withdrawal_id: str, account_id: str, not_after: datetime) -> bool:
        """Pay, whether or not it was paid before; False when it is too late."""
        with self._lock:
            now = datetime.now(UTC)
            if now >= not_after:
                self.late.append(withdrawal_id)
                return False
            self.payments.append(Payment(withdrawal_id, account_id, now))
            return True

    def holds(self, withdrawal_id: str) -> bool:
        """Tell whether it was paid."""
        with self._lock:
            return any(payment.withdrawal_id == withdrawal_id for payment in self.payments)

    def times_paid(self) -> dict[str, int]:
        """Return how often each withdrawal was paid."""
        counts: dict[str, int] = {}
        for payment in self.payments:
            counts[payment.withdrawal_id] = counts.get(payment.withdrawal_id, 0) + 1
        return counts


@contextmanager
def open_rail() -> Iterator[Rail]:
    """Serve a rail on loopback."""
    rail = Rail()

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            """Look a payment up."""
            self._answer(200 if rail.holds(self._id()) else 404)

        def do_PUT(self) -> None:
            """Take a payment."""
            length = int(self.headers["Content-Length"])
            body: dict[str, Any] = json.loads(self.rfile.read(length))
            if not rail.before():
                self._answer(503)
                return
            taken = rail.take(self._id(), body["account_id"], datetime.fromisoformat(body["not_after"]))
            self._answer((200 if taken else 410) if rail.after() else 503)

        def _id(self) -> str:
            return unquote(self.path.removeprefix("/payments/"))

        def _answer(self, status: int) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the server's own name for it)
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        """A server that says nothing of an engine that was killed while it was answered."""

        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  (as the server declares it)
            """Keep quiet."""

    server = Server(("127.0.0.1", 0), Handler)
    rail.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield rail
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
