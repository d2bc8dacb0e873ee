"""The console over HTTP, below `/console`: who may ask, what is answered, and the headers that bind the browser."""

from __future__ import annotations

import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from schemas.wire import ACCOUNT_ID_MAX_CHARACTERS
from streams.console import pages
from streams.console.access import COOKIE, SESSION_SECONDS, names_this_machine
from streams.console.live import live_figures
from streams.rule import is_frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.typedefs import Handler

    from streams.console.access import ConsoleToken
    from streams.console.stopped import Stopped
    from streams.http_endpoints import Served

PREFIX = pages.LOOK_UP
# Nothing of these tells anything of an account; the sign-in page needs them.
OPEN_PATHS = frozenset({pages.SHEET, pages.SCRIPT, pages.SIGN_IN})
HEADERS = {
    "Content-Security-Policy": pages.POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# A form of ours has one.
MAX_FIELDS = 4
_FILES = Path(__file__).parent


def console(served: Served, stopped: Stopped, token: ConsoleToken | None) -> web.Application:
    """Return the application to be put below PREFIX."""
    shown = _Console(served, stopped, token)
    application = web.Application(middlewares=[shown.guard])
    application.on_response_prepare.append(_bind)
    for path, answer in (
        (pages.LOOK_UP, shown.form),
        (pages.LIVE, shown.live),
        (pages.FIGURES, shown.figures),
        (pages.SHEET, shown.sheet),
        (pages.SCRIPT, shown.script),
    ):
        application.router.add_get(path.removeprefix(PREFIX), answer)
    application.router.add_post(pages.LOOK_UP.removeprefix(PREFIX), shown.look_up)
    if token is not None:
        application.router.add_get(pages.SIGN_IN.removeprefix(PREFIX), shown.ask_to_sign_in)
        application.router.add_post(pages.SIGN_IN.removeprefix(PREFIX), shown.sign_in)
        application.router.add_post(pages.SIGN_OUT.removeprefix(PREFIX), shown.sign_out)
    return application


class _Console:
    """Answers; with a token to who has it, without one to this machine."""

    def __init__(self, served: Served, stopped: Stopped, token: ConsoleToken | None) -> None:
        self._served = served
        self._stopped = stopped
        self._token = token
        self._sheet = pages.style_sheet((_FILES / "console.css").read_text("utf-8"))
        self._script = (_FILES / "console.js").read_text("utf-8")

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let nobody through but who may."""
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
            return _html(pages.refusal_page("Refused", "Another site sent this form."), HTTPStatus.FORBIDDEN)
        if self._token is None:
            if names_this_machine(request.headers.get("Host")):
                return await handler(request)
            problem = "Without a token the console answers to localhost, 127.0.0.1 and [::1] only."
            return _html(pages.refusal_page("Refused", problem), HTTPStatus.FORBIDDEN)
        if (
            request.path in OPEN_PATHS
            or self._token.is_bearer(request.headers.get("Authorization"))
            or self._token.is_session(request.cookies.get(COOKIE), time.time())
        ):
            return await handler(request)
        return _unknown()

    async def form(self, _request: web.Request) -> web.Response:
        """Answer with the form that asks for an account."""
        return self._look_up_page((), "Look up an account")

    async def look_up(self, request: web.Request) -> web.Response:
        """Answer what is known of the account in the form."""
        account_id = await _field(request, "account_id")
        if account_id is None or not 1 <= len(account_id) <= ACCOUNT_ID_MAX_CHARACTERS:
            return self._look_up_page(pages.refused_answer(), "Look-up: refused", HTTPStatus.BAD_REQUEST)
        table = self._served.table
        found = table.get(account_id) if table is not None else None
        now_ms, problems = self._served.clock.known_ms(), self._served.health.problems
        failing = [f"{check}: {problem}" for check, problem in problems.items() if problem]
        if found is not None and is_frozen(found.frozen_until_ms, now_ms):
            count = self._stopped.of(account_id, found)
            answer = pages.frozen_answer(account_id, found, now_ms=now_ms, stopped=count, current=not failing)
            return self._look_up_page(answer, "Look-up: frozen")
        if failing:
            answer = pages.unknown_answer(account_id, failing)
            return self._look_up_page(answer, "Look-up: not known", HTTPStatus.SERVICE_UNAVAILABLE)
        return self._look_up_page(pages.not_frozen_answer(account_id, found), "Look-up: not frozen")

    def _look_up_page(self, answer: Iterable[str], title: str, status: int = HTTPStatus.OK) -> web.Response:
        return _html(pages.look_up_page(answer, title=title, signs_out=self._token is not None), status)

    async def live(self, _request: web.Request) -> web.Response:
        """Answer with the page that shows the gate at work."""
        return _html(pages.live_page(signs_out=self._token is not None))

    async def figures(self, _request: web.Request) -> web.Response:
        """Answer with the figures of that page."""
        body = orjson.dumps(live_figures(self._served.health, self._served.metrics, self._served.workers))
        return web.Response(body=body, content_type="application/json")

    async def sheet(self, _request: web.Request) -> web.Response:
        """Answer with the style sheet."""
        return web.Response(text=self._sheet, content_type="text/css")

    async def script(self, _request: web.Request) -> web.Response:
        """Answer with the script."""
        return web.Response(text=self._script, content_type="text/javascript")

    async def ask_to_sign_in(self, _request: web.Request) -> web.Response:
        """Answer with the form that takes the token."""
        return _html(pages.sign_in_page())

    async def sign_in(self, request: web.Request) -> web.Response:
        """Exchange the token for a cookie."""
        given = await _field(request, "token")
        if self._token is None or given is None or not self._token.is_token(given.strip()):
            return _unknown("That is not the token of this console.")
        response = _see(pages.LOOK_UP)
        response.set_cookie(
            COOKIE,
            self._token.session(time.time()),
            path=PREFIX,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            # Over plain HTTP a browser would not send a secure cookie back; the proxy in front says what it speaks.
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return response

    async def sign_out(self, _request: web.Request) -> web.Response:
        """Let the browser forget its cookie."""
        response = _see(pages.SIGN_IN)
        response.del_cookie(COOKIE, path=PREFIX)
        return response


async def _bind(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on whatever is answered, errors too."""
    response.headers.update(HEADERS)


def _unknown(problem: str | None = None) -> web.Response:
    """Answer somebody who has shown no token with the form that takes it."""
    response = _html(pages.sign_in_page(problem), HTTPStatus.UNAUTHORIZED)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _field(request: web.Request, name: str) -> str | None:
    """Return the one value of a form's field, None when there is no such form."""
    if request.content_type != "application/x-www-form-urlencoded":
        return None
    try:
        fields = parse_qs(
            (await request.read()).decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=4
        )
    except ValueError:
        return None
    values = fields.get(name, [])
    return values[0] if len(values) == 1 else None


def _html(text: str, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


def _see(path: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path})
