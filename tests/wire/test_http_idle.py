"""Connections to the HTTP port that say too little, against the real server, without a broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streams import http_endpoints
from streams.runtime import Runtime
from streams.settings import Settings
from tests.fuzz.http import UNFINISHED
from tests.processes import free_port

if TYPE_CHECKING:
    import pytest

# A header that grows by a letter at a time is refused for its length only after minutes.
DRIP = b"y"
BODY = (
    b"POST /console HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 9\r\n\r\naccount"
)
PATIENCE_SECONDS = 20.0


async def closed(port: int, beginning: bytes) -> None:
    """Begin a request, drip into a header if it has come to one, and wait until the server closes or answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(beginning)
    try:
        while True:
            try:
                async with asyncio.timeout(0.05):
                    await reader.read(1_024)
                    return
            except TimeoutError:
                if beginning.endswith(b": "):
                    writer.write(DRIP)
    except ConnectionError:
        pass  # it was closed with letters on their way
    finally:
        writer.close()


async def all_closed(settings: Settings) -> None:
    """Serve, and have every unfinished request closed by the server."""
    runner = await http_endpoints.serve(Runtime(settings), settings)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(closed(settings.http[1], beginning) for beginning in (*UNFINISHED, BODY)))
    finally:
        await runner.cleanup()


def test_a_connection_that_sends_no_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent or dripping a header at a time: nobody holds the worker's connections for long."""
    monkeypatch.setattr(http_endpoints, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(http_endpoints, "REQUEST_SECONDS", 0.3)
    served = {"GATE_CONSOLE": "1", "GATE_HTTP": f"127.0.0.1:{free_port()}"}
    asyncio.run(all_closed(Settings.from_environment(served)))
