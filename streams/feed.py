"""Hands batches from a fetching thread to a Faust agent, one at a time, when the agent asks for one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.app import GateApp


class Feed:
    """An agent's channel, and the demand for its next batch."""

    def __init__(self, app: GateApp, role: str) -> None:
        """Fetch in the thread `<role>-fetch`, work in the thread `<role>`."""
        self.channel = app.channel(maxsize=1)
        self._app = app
        self._role = role
        self._demand = asyncio.Event()

    async def fetch_for_ever(self, fetch: Callable[[], Any]) -> None:
        """Put what `fetch` returns into the channel, each time the agent asks; until the worker stops."""
        self._demand.set()
        while not self._app.runtime.stopping.is_set():
            await self._demand.wait()
            self._demand.clear()
            if self._app.runtime.stopping.is_set():
                return
            batch = await self._app.runtime.run(f"{self._role}-fetch", fetch)
            await self.channel.put(batch)

    async def work(self, work: Callable[..., None], *arguments: object) -> None:
        """Do the agent's blocking work on a batch, then ask for the next one. An error ends the process."""
        try:
            if not self._app.runtime.stopping.is_set():
                await self._app.runtime.run(self._role, work, *arguments)
        except Exception as error:  # noqa: BLE001  (whatever it is, the process must not go on)
            self._app.fail(error)
            return
        self._demand.set()

    def ask(self) -> None:
        """Ask for the next batch now; callable from the working thread."""
        self._app.loop.call_soon_threadsafe(self._demand.set)
