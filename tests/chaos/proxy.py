"""Stands between workers and brokers, and does to their connections what networks do; a process of its own.

    python -m tests.chaos.proxy PORT...

For each port of loopback that is named it listens on one of its own, a link, and says these ports in a line, in order.
Then each line on stdin names a link, by its number from 0, and is answered with `LINK MODE`: what the link does then.

    LINK MODE                 do that from now on
    LINK trap KEY pass|keep   hold everything from the next request with this api key on; pass it on before, or keep it
    LINK ask                  change nothing

It ends with stdin.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

HOST = "127.0.0.1"
PIECE_BYTES = 65_536
# Each piece, each way: a request and its answer take twice that, a large answer several times.
DELAY_SECONDS = 0.3
# SO_LINGER, on, 0 s: the other side is told at once that the connection is broken, not that it ended.
RESET = struct.pack("ii", 1, 0)
# How each request begins: how many bytes follow, and which kind it is.
HEAD = struct.Struct(">ih")
KEY_BYTES = 2


class Mode(StrEnum):
    """What a link does."""

    OPEN = "open"
    # Connections are reset, those that are tried as well.
    CUT = "cut"
    # Every piece comes late.
    SLOW = "slow"
    # Half-open: what the broker says is lost. It has heard and done what it was asked.
    MUTE = "mute"
    # Half-open: what either side says is lost, and neither is told.
    DEAD = "dead"
    # Everything waits, and nothing is lost: it goes on when the link is open again.
    HOLD = "hold"


class Requests:
    """Follows the requests of one connection; what is no request is followed in vain, and harms nobody."""

    def __init__(self) -> None:
        """Begin with a connection."""
        self._head = b""
        self._rest = 0

    def keys(self, piece: bytes) -> list[int]:
        """Return the api key of each request whose head ends in this piece."""
        found, at = [], 0
        while at < len(piece):
            if self._rest:
                step = min(self._rest, len(piece) - at)
                self._rest -= step
            else:
                step = min(HEAD.size - len(self._head), len(piece) - at)
                self._head += piece[at : at + step]
                if len(self._head) == HEAD.size:
                    size, key = HEAD.unpack(self._head)
                    found.append(key)
                    self._head, self._rest = b"", max(0, size - KEY_BYTES)
            at += step
        return found


class Link:
    """One port and the broker's port behind it."""

    def __init__(self, target: int) -> None:
        """Pass everything on, at first."""
        self._target = target
        self.mode = Mode.OPEN
        self._open: set[asyncio.StreamWriter] = set()
        self._going = asyncio.Event()
        self._going.set()
        self._trapped: int | None = None
        self._passes = False

    async def listen(self) -> int:
        """Return the port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def change(self, mode: Mode) -> None:
        """Do that from now on; connections that have lost bytes are of no use any more."""
        if mode is Mode.CUT or self.mode in {Mode.MUTE, Mode.DEAD}:
            for writer in self._open:
                _reset(writer)
        self.mode = mode
        self._trapped = None
        if mode is Mode.HOLD:
            self._going.clear()
        else:
            self._going.set()

    def trap(self, key: int, *, passes: bool) -> None:
        """Hold everything from the next request of that kind on; the request itself passes, or is kept as well."""
        self._trapped, self._passes = key, passes

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.CUT:
            _reset(writer)
            return
        try:
            there_reader, there = await asyncio.open_connection(HOST, self._target)
        except OSError:  # the broker is away
            _reset(writer)
            return
        both = {writer, there}
        self._open |= both
        await asyncio.gather(
            self._pass_on(reader, there, (Mode.DEAD,), Requests().keys),
            self._pass_on(there_reader, writer, (Mode.DEAD, Mode.MUTE), lambda _: ()),
        )
        self._open -= both

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        losing: tuple[Mode, ...],
        keys: Callable[[bytes], Collection[int]],
    ) -> None:
        with suppress(OSError):  # reset, by one of them or by us
            while piece := await reader.read(PIECE_BYTES):
                sprung = self._trapped in keys(piece)
                if sprung:
                    self.change(Mode.HOLD)
                if not (sprung and self._passes):
                    await self._going.wait()
                if self.mode is Mode.SLOW:
                    await asyncio.sleep(DELAY_SECONDS)
                if self.mode not in losing:
                    writer.write(piece)
                    await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):  # it has ended already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def main() -> None:
    """Obey until stdin ends."""
    links = [Link(int(port)) for port in sys.argv[1:]]
    print(*[await link.listen() for link in links], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        number, order, *how = line.split()
        link = links[int(number)]
        if order == "trap":
            link.trap(int(how[0]), passes=how[1] == "pass")
        elif order != "ask":
            link.change(Mode(order))
        print(number, link.mode, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
