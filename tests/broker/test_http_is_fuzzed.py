"""A running worker's HTTP port under requests that no client of ours sends."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
from aiohttp.web_urldispatcher import Resource
from hypothesis import HealthCheck, given
from hypothesis import settings as config

from streams.http_endpoints import endpoints
from streams.runtime import Runtime
from streams.settings import Settings
from tests.fuzz.http import MARK, UNFINISHED, requests, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment
    from tests.processes import Worker

# All that can be served is.
EVERYTHING = {"GATE_CONSOLE": "1"}
HELD_CONNECTIONS = 200
MEGABYTE = 1024 * 1024
# Each of them is more than the server has to hold.
ENDLESS = (
    b"GET /" + b"a" * 10 * MEGABYTE,
    b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * MEGABYTE,
    b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 10 * MEGABYTE,
    b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 10485760\r\n\r\n" + b"z" * 10 * MEGABYTE,
    b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 2_000,
)
# For buffers, and the allocator's own caches.
MORE_BYTES = 64 * MEGABYTE


def paths() -> list[str]:
    """Return every path that the worker serves, those of applications within the application too."""
    settings = Settings.from_environment(EVERYTHING)
    routes = endpoints(Runtime(settings), settings).router.routes()
    found = {route.resource.canonical for route in routes if isinstance(route.resource, Resource)}
    assert found >= {"/freezes/{account_id}", "/console"}
    return sorted(found)


def hold_and_flood(worker: Worker) -> None:
    """Leave many requests unfinished and send some that have no end; the worker answers others meanwhile."""
    with ExitStack() as held:
        for number in range(HELD_CONNECTIONS):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", worker.port), timeout=10))
            connection.sendall(UNFINISHED[number % len(UNFINISHED)])
        for endless in ENDLESS:
            assert all(status < 500 for status in statuses(worker.port, endless)), endless[:50]
        assert worker.ready()


def test_no_request_makes_the_worker_fail_or_repeat_it_in_its_log(deploy: Callable[..., Deployment]) -> None:
    """Any method, path, escape, header, version, body, cut off or pipelined: no 5xx, and the worker stays as it was."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker(GATE_LOG="debug", **EVERYTHING).wait_ready()
    process = psutil.Process(worker.process.pid)
    seen: set[int] = set()

    @config(max_examples=800, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests(paths()))
    def sent(request: bytes) -> None:
        found = statuses(worker.port, request)
        seen.update(found)
        assert all(status < 500 for status in found), found

    hold_and_flood(worker)
    before = process.memory_info().rss
    sent()
    hold_and_flood(worker)
    assert {200, 400, 404, 405} <= seen
    assert worker.ready()
    assert process.memory_info().rss < before + MORE_BYTES
    assert worker.stop() == 0
    log = worker.log.read_text()
    assert [word for word in (MARK, "Traceback", "Error handling") if word in log] == []
