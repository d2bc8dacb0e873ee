"""The worker's HTTP without a broker: its own runtime, a freeze table on disk, real sockets."""

from __future__ import annotations

import asyncio
import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from streams.freeze_table import AppliedPress, FreezeTable
from streams.http_endpoints import serve
from streams.rule import BUILT_IN_POLICY, freeze_of_press
from streams.runtime import Runtime
from streams.settings import Settings
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    cookies: list[str]
    text: str


class Served:
    """A worker's HTTP with a table that is current, until a test says otherwise."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Make the parts; nothing listens yet."""
        self.settings = Settings.from_environment(
            {"GATE_HTTP": f"127.0.0.1:{free_port()}", "GATE_DATA_DIR": str(folder / "data"), **environment}
        )
        self.runtime = Runtime(self.settings)
        self.runtime.table = self.table = FreezeTable(folder / "freezes", {"test": "console"})
        for check in self.runtime.health.problems:
            self.runtime.health.set(check, None)

    def press(self, account_id: str, *, asked: int | None = None, press_id: str = "p-1", ago_ms: int = 0) -> None:
        """Put a press into the table."""
        pressed_ms = self.runtime.clock.now_ms() - ago_ms
        self.runtime.clock.told((TIMESTAMP_LOG_APPEND_TIME, self.runtime.clock.now_ms()))
        freeze = freeze_of_press(BUILT_IN_POLICY, press_id, asked, pressed_ms)
        self.table.apply([AppliedPress(account_id, 0, 0, freeze)], {0: 1})

    def ask(
        self,
        method: str,
        path: str,
        form: dict[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask as any client could."""
        named = dict(headers or {})
        body = urlencode(form).encode() if isinstance(form, dict) else form
        if form is not None:
            named = {"Content-Type": FORM, **named}
        connection = http.client.HTTPConnection(*self.settings.http, timeout=10)
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            cookies = answer.headers.get_all("Set-Cookie") or []
            text = answer.read().decode()
            return Answer(answer.status, dict(answer.headers), cookies, text)
        finally:
            connection.close()


@contextmanager
def served(folder: Path, **environment: str) -> Iterator[Served]:
    """Serve with these settings."""
    made = Served(folder, environment)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(serve(made.runtime, made.settings), loop).result(10)
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        made.table.close()
