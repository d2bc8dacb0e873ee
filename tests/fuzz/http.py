"""Requests that no client of ours sends, as bytes, and what comes back when a worker gets them."""

from __future__ import annotations

import re
import select
import socket
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from hypothesis import strategies as st

from tests.fuzz.corpus import LENGTHS, STRINGS, UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import SearchStrategy

Value = TypeVar("Value")

# Stands in everything that is sent, so that a log can be searched for it.
MARK = "zz-mark"
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "UNFREEZE",
    "",
    "G\0T",
)
VERSIONS = (
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/9",
    "http/1.1",
    "HTTP/1.10",
    "",
)
PATHS = (
    *("*", "//", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/.%00./", "/./livez"),
    *("http://elsewhere.example/livez", "//elsewhere.example/livez", "/livez?verbose", "/livez#x", "/livez;x=y"),
    *("/%", "/%zz", "/%00", "/%ff%fe", "/%c0%af", "/%ed%a0%80", "/%u0041", "/\\..\\", "/\xff", "/a b", "\t/livez"),
)
HEADERS = (
    *(
        "Content-Length: -1",
        "Content-Length: 5, 6",
        "Content-Length: 99999999999999999999",
        "Content-Length: 10\r\n\r\n",
    ),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: \x0bchunked"),
    *(
        "Content-Encoding: gzip",
        "Content-Encoding: br",
        "Expect: 100-continue",
        "Expect: 42",
        "Expect: \udce4",
        "Upgrade: websocket",
    ),
    *("Connection: close", "Connection: Upgrade\r\nUpgrade: h2c", "Range: bytes=0-,0-,0-", "If-None-Match: *"),
    *(
        "Cookie: a=b; a=c; =; \x7f",
        "Authorization: Basic !",
        "Host:",
        "Host: a\r\nHost: b",
        ": x",
        "x",
        "x y: z",
        " x: y",
    ),
    *("Accept: */*;q=x", "Accept-Encoding: gzip;q=0, zstd", f"X-Long: {'x' * 9_000}", "X:" + "y" * 70_000, "X: \0"),
    *("Content-Type: multipart/form-data; boundary=", "Content-Type: application/json; charset=utf-99"),
)
BODIES = (
    b"",
    b"x",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"-1\r\n",
    b"ffffffffffffffff\r\n",
    b"\x1f\x8b\x08\x00",
    b"{}",
    b"a=b&a",
)
STATUS = re.compile(rb"^HTTP/[0-9.]+ ([0-9]{3})", re.MULTILINE)
# Beginnings of requests, after which nothing more comes, or hardly anything.
UNFINISHED = (b"", b"GET /liv", b"GET /livez HTTP/1.1\r\nX: ")
# A server that has not closed by then hangs.
PATIENCE_SECONDS = 30.0
# asyncio drops an answer that is not written when the client's end is read, and a fast client's end is read first:
# so the client says that it has ended only when the answer begins, or when none came, as to half a request.
FIRST_ANSWER_SECONDS = 0.1


def requests(paths: Sequence[str]) -> SearchStrategy[bytes]:
    """Return requests, one to three in a connection, to these paths and others; some are cut off, some spoilt."""
    units = st.builds(lambda unit, length: unit * length, st.sampled_from(UNITS), st.sampled_from(LENGTHS))
    nasty = st.sampled_from(STRINGS) | units
    ours = st.builds(
        _filled,
        st.sampled_from(paths),
        nasty,
        often(partial(quote, safe=""), str),
        often("", "?verbose", "?%00=%", "?a&&="),
    )
    target = often(ours, st.sampled_from(PATHS), nasty).flatmap(lambda chosen: chosen)
    first = st.builds("{} {} {}".format, often(*METHODS), target, often(*VERSIONS))
    header = often("Accept: */*", *HEADERS) | nasty.map("X-Nasty: {}".format)
    form = nasty.map(lambda text: f"account_id={MARK}{quote(text)}&{text}".encode())
    body = often(st.just(b""), form, st.sampled_from(BODIES)).flatmap(lambda chosen: chosen)
    whole = st.builds(_request, first, st.lists(header, max_size=2), body)
    spoilt = st.builds(
        _spoilt, whole, st.floats(0, 1), st.sampled_from(("cut", "insert", "twist")), st.binary(max_size=9)
    )
    return st.lists(often(whole, spoilt).flatmap(lambda chosen: chosen), min_size=1, max_size=3).map(b"".join)


def often(usual: Value, *others: Value) -> SearchStrategy[Value]:
    """Return the usual as often as all others together, or more: a request with many faults is refused for one."""
    return st.sampled_from([usual] * max(2, len(others)) + list(others))


def _filled(path: str, nasty: str, escape: Callable[[str], str], query: str) -> str:
    return re.sub(r"\{\w+\}", lambda _: MARK + escape(nasty), path) + query


def _request(first: str, headers: list[str], body: bytes) -> bytes:
    lines = [first, "Host: localhost", f"X-Mark: {MARK}", *headers]
    if body:
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def _spoilt(request: bytes, place: float, way: str, with_: bytes) -> bytes:
    at = int(place * len(request))
    if way == "cut":
        return request[:at]
    return request[:at] + with_ + request[at + (len(with_) if way == "twist" else 0) :]


def statuses(port: int, request: bytes) -> list[int]:
    """Send bytes, wait for an answer, send no more, hear the server out, and return the status of each answer."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        try:
            connection.sendall(request)
            select.select([connection], [], [], FIRST_ANSWER_SECONDS)
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(65_536):
                answer += received
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had heard enough
    assert not answer or STATUS.match(answer), answer[:200]
    return [int(status) for status in STATUS.findall(answer)]
