"""Stands between workers and brokers, and does to their connections what networks do; a process of its own.

    python -m tests.chaos.proxy PORT...

For each port of loopback that is named it listens on one of its own, a link, and says these ports in a line, in order.
Then a line `LINK MODE` on stdin changes a link, by its number from 0; the same line is said back once that is done. It
ends with stdin.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from enum import StrEnum

HOST = "127.0.0.1"
PIECE_BYTES = 65_536
# Each piece, each way: a request and its answer take twice that, a large answer several times.
DELAY_SECONDS = 0.3
# SO_LINGER, on, 0 s: the other side is told at once that the connection is broken, not that it ended.
RESET = struct.pack("ii", 1, 0)


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


class Link:
    """One port and the broker's port behind it."""

    def __init__(self, target: int) -> None:
        """Pass everything on, at first."""
        self._target = target
        self._mode = Mode.OPEN
        self._open: set[asyncio.StreamWriter] = set()

    async def listen(self) -> int:
        """Return the port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def change(self, mode: Mode) -> None:
        """Do that from now on; connections that have lost bytes are of no use any more."""
        if mode is Mode.CUT or self._mode in {Mode.MUTE, Mode.DEAD}:
            for writer in self._open:
                _reset(writer)
        self._mode = mode

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.CUT:
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
            self._pass_on(reader, there, (Mode.DEAD,)), self._pass_on(there_reader, writer, (Mode.DEAD, Mode.MUTE))
        )
        self._open -= both

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: tuple[Mode, ...]
    ) -> None:
        with suppress(OSError):  # reset, by one of them or by us
            while piece := await reader.read(PIECE_BYTES):
                if self._mode is Mode.SLOW:
                    await asyncio.sleep(DELAY_SECONDS)
                if self._mode not in losing:
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
        number, mode = line.split()
        links[int(number)].change(Mode(mode))
        print(line.strip(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
