"""HTTP on `GATE_HTTP`: probes, metrics and the look-up of a freeze. Reads only: there is no method that writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.wire import ACCOUNT_ID_MAX_CHARACTERS, rfc3339
from streams.console.routes import PREFIX as CONSOLE
from streams.console.routes import console
from streams.rule import is_frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler

    from streams.broker_clock import BrokerClock
    from streams.console.stopped import Stopped
    from streams.freeze_table import FreezeTable
    from streams.health import Health
    from streams.metrics import Metrics
    from streams.rule import Freeze
    from streams.settings import Settings

    Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


# An account id of 256 characters can take 3,072 in a form, and a thousand of some other kind must be refused in words.
MAX_BODY_BYTES = 16_384
# A connection without a whole request for this long is closed; aiohttp's own time is an hour. Longer than Prometheus
# waits between two scrapes, so that it keeps its connection.
IDLE_SECONDS = 75.0
# No answer takes that long; a body that comes a letter at a time would.
REQUEST_SECONDS = 10.0
CONTINUE = "100-continue"


class Served(Protocol):
    """What the endpoints show."""

    clock: BrokerClock
    health: Health
    metrics: Metrics
    settings: Settings
    # None until the data folder is open.
    table: FreezeTable | None
    # What the console counts, None when it is off.
    stopped: Stopped | None
    # How many workers the group has, None when that is not known.
    workers: int | None


def endpoints(served: Served, settings: Settings) -> web.Application:
    """Return the web application."""

    async def livez(_request: web.Request) -> web.Response:
        # That this answers says that the event loop turns. Dependencies are none of a liveness probe's business.
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        problems = served.health.problems
        ready = not any(problems.values())
        lines = [f"[{'-' if problem else '+'}] {check}: {problem or 'ok'}" for check, problem in problems.items()]
        shown = lines if "verbose" in request.query or not ready else []
        last = f"{'ready' if ready else 'not ready'}{', as a shadow' if served.settings.shadow else ''}"
        return web.Response(status=200 if ready else 503, text="\n".join([*shown, last, ""]))

    async def metrics(_request: web.Request) -> web.Response:
        body = generate_latest(served.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def freeze(request: web.Request) -> web.Response:
        account_id = request.match_info["account_id"]
        if len(account_id) > ACCOUNT_ID_MAX_CHARACTERS:
            return _json(400, {"error": f"account_id has more than {ACCOUNT_ID_MAX_CHARACTERS} characters"})
        try:
            found = served.table.get(account_id) if served.table is not None else None
        except UnicodeEncodeError:
            return _json(400, {"error": "account_id is not UTF-8"})
        if found is not None and is_frozen(found.frozen_until_ms, served.clock.known_ms()):
            return _json(200, describe_freeze(account_id, found))
        if not served.health.ready:
            return _json(503, {"error": "this worker's freeze table is not current; see /readyz"})
        return _json(404, {"account_id": account_id, "frozen": False})

    application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_in_time])
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/freezes/{account_id}", freeze)
    if served.stopped is not None:
        application.add_subapp(CONSOLE, console(served, served.stopped, settings.console_token_file))
    return application


def _expecting_nothing(handle: Handle) -> Handle:
    """Refuse an `Expect` that is none of HTTP's: aiohttp's own refusal of it fails where it is not UTF-8."""

    async def handle_or_refuse(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", CONTINUE).lower() != CONTINUE:
            return web.Response(status=417)
        return await handle(request)

    return handle_or_refuse


@web.middleware
async def _in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await handler(request)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def describe_freeze(account_id: str, freeze: Freeze) -> dict[str, object]:
    """Return what support may see of a freeze in force."""
    return {
        "account_id": account_id,
        "frozen": True,
        "frozen_since": rfc3339(freeze.frozen_since_ms),
        "frozen_until": rfc3339(freeze.frozen_until_ms),
        "press_id": freeze.press_id,
        "asked_seconds": freeze.asked_seconds,
        "applied_seconds": freeze.applied_seconds,
        "adjusted": freeze.adjusted,
    }


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


async def serve(served: Served, settings: Settings) -> web.AppRunner:
    """Start serving; the caller calls `cleanup` on what is returned. OSError when the address can't be had."""
    runner = web.AppRunner(endpoints(served, settings), access_log=None, keepalive_timeout=IDLE_SECONDS)
    await runner.setup()
    server = cast("web.Server", runner.server)
    server.request_handler = _expecting_nothing(server.request_handler)
    await web.TCPSite(runner, *settings.http).start()
    return runner
