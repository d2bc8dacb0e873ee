"""The proxy between workers and brokers does what the faults say of it, on connections of our own."""

from __future__ import annotations

import socket
import struct
import threading
from collections import defaultdict
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.chaos.links import Links
from tests.chaos.proxy import HOST, Mode, Requests
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 20


class Echo:
    """A broker that says what it hears."""

    def __init__(self) -> None:
        """Listen."""
        self.heard: defaultdict[int, bytes] = defaultdict(bytes)
        self._server = socket.create_server((HOST, 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._echo, args=(number, connection), daemon=True).start()
                number += 1

    def _echo(self, number: int, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # reset
            while heard := connection.recv(100):
                self.heard[number] += heard
                connection.sendall(heard)

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Return a broker."""
    with closing(Echo()) as echo:
        yield echo


@pytest.fixture
def links(echo: Echo) -> Iterator[Links]:
    """Return the links of two places to it."""
    with closing(Links([[echo.port, echo.port]])) as links:
        yield links


@pytest.fixture
def connect(links: Links) -> Iterator[Callable[[int], socket.socket]]:
    """Return what connects through a place's link."""
    with ExitStack() as opened:

        def connect(place: int) -> socket.socket:
            port = links.ports[0][place]
            return opened.enter_context(socket.create_connection((HOST, port), PATIENCE_SECONDS))

        yield connect


def say(connection: socket.socket, word: bytes) -> bytes:
    """Say a word and return the answer; empty or an error when the connection is broken."""
    connection.sendall(word)
    return connection.recv(100)


def test_what_is_said_comes_through_and_comes_late(links: Links, connect: Callable[[int], socket.socket]) -> None:
    """An open link and a slow one lose nothing."""
    connection = connect(0)
    assert say(connection, b"one") == b"one"
    links.change(0, 0, Mode.SLOW)
    assert say(connection, b"two") == b"two"


def test_a_cut_link_resets_old_and_new_connections_and_no_other_link(
    links: Links, connect: Callable[[int], socket.socket]
) -> None:
    """Until it is open again."""
    connection, other = connect(0), connect(1)
    assert say(connection, b"one") == say(other, b"one") == b"one"
    links.change(0, 0, Mode.CUT)
    with pytest.raises(ConnectionError):
        say(connection, b"two")
    with pytest.raises(ConnectionError):  # already while it connects, if that takes longer than the reset
        say(connect(0), b"two")
    assert say(other, b"three") == b"three"
    links.change(0, 0, Mode.OPEN)
    assert say(connect(0), b"four") == b"four"


@pytest.mark.parametrize("mode", [Mode.MUTE, Mode.DEAD])
def test_half_open_loses_answers_or_all_and_breaks_the_connection_only_at_its_end(
    links: Links, echo: Echo, connect: Callable[[int], socket.socket], mode: Mode
) -> None:
    """Who is mute was heard; who is dead was not; neither is told anything before the link is open again."""
    connection = connect(0)
    assert say(connection, b"one") == b"one"
    links.change(0, 0, mode)
    connection.sendall(b" two")
    if mode is Mode.MUTE:
        wait_for(lambda: echo.heard[0] == b"one two", "the broker to hear it")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    connection.settimeout(PATIENCE_SECONDS)
    links.change(0, 0, Mode.OPEN)
    with pytest.raises(ConnectionResetError):
        connection.recv(100)
    assert echo.heard[0].startswith(b"one two") is (mode is Mode.MUTE)
    assert say(connect(0), b"three") == b"three"


COMMON, CAUGHT = 3, 28


def request(key: int, body: bytes = b"") -> bytes:
    """Return a request of Kafka's protocol as far as the proxy looks at it."""
    return struct.pack(">ih", 2 + len(body), key) + body


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 100])
def test_requests_are_told_apart_wherever_their_bytes_are_split(size: int) -> None:
    """Each kind once, in order; what lies within a request is not taken for one."""
    said = request(CAUGHT, request(COMMON)) + request(COMMON) + request(CAUGHT, b"x" * 20)
    requests = Requests()
    found = [key for at in range(0, len(said), size) for key in requests.keys(said[at : at + size])]
    assert found == [CAUGHT, COMMON, CAUGHT]


@pytest.mark.parametrize("request_is", ["passed on", "kept"])
def test_a_trap_holds_everything_from_its_kind_of_request_on_and_loses_nothing(
    links: Links, echo: Echo, connect: Callable[[int], socket.socket], request_is: str
) -> None:
    """The broker hears that request, or does not yet; the answer waits either way; open again, all of it comes."""
    connection, passes = connect(0), request_is == "passed on"
    common, caught = request(COMMON), request(CAUGHT)
    links.trap(0, 0, CAUGHT, passes=passes)
    assert say(connection, common) == common
    assert links.mode(0, 0) is Mode.OPEN
    connection.sendall(caught)
    wait_for(lambda: links.mode(0, 0) is Mode.HOLD, "the trap to spring")
    if passes:
        wait_for(lambda: echo.heard[0] == common + caught, "the broker to hear it")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    assert echo.heard[0] == common + caught * passes
    connection.settimeout(PATIENCE_SECONDS)
    links.change(0, 0, Mode.OPEN)
    assert connection.recv(100) == caught
    assert say(connection, caught) == caught, "a trap springs once"
