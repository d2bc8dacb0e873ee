"""The Faust app: three agents, each fed a batch at a time, and the worker that runs them.

Faust runs the app (agents, services, start, stop, signals); librdkafka moves the records. Faust's own Kafka clients are
off: they can't keep the promises and are forty times slower (README, "Why not Faust's own Kafka path").
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import faust
from confluent_kafka import KafkaException
from faust.app.base import BootStrategy
from mode import Service

from streams import announce, gate
from streams.errors import GateError, KafkaUnreachable, SettingsError
from streams.feed import Feed
from streams.http_endpoints import serve
from streams.kafka import error_of
from streams.runtime import Runtime
from streams.store import fault_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp import web
    from faust.types import StreamT

    from streams.exactly_once import Batch
    from streams.follow import FollowBatch
    from streams.settings import Settings

log = logging.getLogger("streams.worker")
# mode logs the start and stop of each service under the name of the module that defines it.
logging.getLogger(__name__).setLevel(logging.WARNING)
FETCH_SECONDS = 0.5
WATCH_SECONDS = 1.0
OPENING_SECONDS = 0.1
LIFELINE_SECONDS = 2.0
WORKERS_SECONDS = 5.0
DECISIONS_SECONDS = 0.1
PURGE_SECONDS = 60.0
TOPIC_WATCH_SECONDS = 60.0
# The drain is bounded: an unfinished transaction is aborted by the brokers or by the next owner of its partition.
EXIT_SECONDS = 9.0
GC_THRESHOLDS = (200_000, 50, 1_000)
M_ARENA_MAX = -8  # malloc.h
MALLOC_ARENAS = 2


class Boot(BootStrategy):
    """Starts the agents and our service, none of Faust's Kafka clients, and not its web server.

    `faust worker` would switch that server on, on every interface, whatever the app's settings say.
    """

    enable_kafka = False
    enable_web = False


class GateApp(faust.App):
    """The app, what it runs, and what it found out about its own end."""

    BootStrategy = Boot
    runtime: Runtime
    follow_feed: Feed
    gate_feed: Feed
    announce_feed: Feed
    failure: BaseException | None = None

    def _create_directories(self) -> None:
        """Make none of Faust's folders: its tables are not used, and the working directory may be read-only."""

    def fail(self, error: BaseException) -> None:
        """End the process: nothing is committed after this, and the supervisor starts a new one."""
        if self.failure is not None:
            return
        if self.runtime.stopping.is_set():
            # The worker was told to end, and does: a thread that is gone, a commit cut short. Nothing is lost by it.
            log.warning("while ending: %r", error)
            return
        if type(error) is Exception:  # rocksdict raises nothing more specific
            error = fault_of(self.runtime.folder, error)
        elif isinstance(error, KafkaException):
            error = KafkaUnreachable(f"Kafka: {error_of(error).str()}")
        self.failure = error
        self.runtime.stopping.set()
        if isinstance(error, GateError):
            for line in str(error).splitlines():
                log.error("%s", line)
        else:
            log.error("the worker ends on an error that it does not know", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)

    @property
    def exit_code(self) -> int:
        """What the process should exit with."""
        if self.failure is None:
            return 0
        return self.failure.exit_code if isinstance(self.failure, GateError) else 1


class GateWorker(faust.Worker):
    """A Faust worker that exits with the app's code, quietly, and within EXIT_SECONDS of being told to."""

    app: GateApp

    def __init__(self, app: GateApp, **options: Any) -> None:
        """Run that app without banner and spinner: what happens is in the log."""
        super().__init__(app, **{**options, "quiet": True, "redirect_stdouts": False})
        self.spinner = None

    def _on_sigint(self) -> None:
        self._end(signal.SIGINT)

    def _on_sigterm(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> None:
        app = self.app
        app.runtime.stopping.set()
        limit = threading.Timer(EXIT_SECONDS, lambda: os._exit(app.exit_code))
        limit.daemon = True
        limit.start()
        self._schedule_shutdown(signum)

    def execute_from_commandline(self) -> NoReturn:
        """Run until told to stop."""
        _tune_memory()
        try:
            super().execute_from_commandline()
        except SystemExit as end:
            sys.exit(self.app.exit_code or end.code)


class Work(Service):
    """Starts the runtime, feeds the agents, looks after lag and old freezes, stops the runtime."""

    def __init__(self, app: GateApp, **options: Any) -> None:
        """Work for that app."""
        super().__init__(**options)
        self.app = app
        self._web: web.AppRunner | None = None
        self._running: list[asyncio.Task[None]] = []

    async def on_start(self) -> None:
        """Serve HTTP at once, so that a worker that restores its table can be watched."""
        runtime = self.app.runtime
        host, port = runtime.settings.http
        try:
            self._web = await serve(runtime, runtime.settings)
        except OSError as error:
            self.app.fail(SettingsError("GATE_HTTP", f"{host}:{port}", f"an address to listen on ({error.strerror})"))
            return
        self.app.flow_control.resume()  # Faust does so after its own rebalance only
        self._spawn(self._begin())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  (whatever it is, the process must not go on)
                self.app.fail(error)

        self._running.append(asyncio.ensure_future(guarded()))

    async def _begin(self) -> None:
        app, runtime = self.app, self.app.runtime
        await runtime.run("watch", runtime.start)
        self._spawn(app.follow_feed.fetch_for_ever(runtime.follow.fetch))
        self._spawn(self._every(WATCH_SECONDS, "watch", runtime.lag.look))
        self._spawn(self._every(TOPIC_WATCH_SECONDS, "watch", runtime.topic_watch.look))
        self._spawn(self._every(LIFELINE_SECONDS, "lifeline", runtime.lifeline.look))
        if runtime.settings.console:
            self._spawn(self._every(WORKERS_SECONDS, "lifeline", runtime.count_workers))
        if not await runtime.run("gate", runtime.restore):
            return
        # Only a worker whose table is current takes requests over.
        runtime.gate_intake.join()
        fetch_requests = runtime.gate_intake.fetch
        self._spawn(app.gate_feed.fetch_for_ever(lambda: fetch_requests(gate.MAX_BATCH_RECORDS, FETCH_SECONDS)))
        if (announcing := runtime.announce_intake) is not None:
            announcing.join()
            fetch_presses = announcing.fetch
            self._spawn(
                app.announce_feed.fetch_for_ever(lambda: fetch_presses(announce.MAX_BATCH_RECORDS, FETCH_SECONDS))
            )
        self._spawn(self._until_open())
        self._spawn(self._every(PURGE_SECONDS, "announce", runtime.purge))
        if runtime.decisions is not None:
            self._spawn(self._every(DECISIONS_SECONDS, "decisions-fetch", runtime.decisions.look))

    async def _until_open(self) -> None:
        """Look for the first open lanes more often than the watch does: with them a worker that starts is ready."""
        runtime = self.app.runtime
        while runtime.health.problems["group"] is not None and not runtime.stopping.is_set():
            await runtime.run("watch", runtime.lag.look_at_requests)
            await asyncio.sleep(OPENING_SECONDS)

    async def _every(self, seconds: float, role: str, work: Any) -> None:  # noqa: ANN401  (any callable)
        runtime = self.app.runtime
        while not runtime.stopping.is_set():
            await runtime.run(role, work)
            await asyncio.sleep(seconds)

    async def on_stop(self) -> None:
        """Drain, leave the groups, close the folder."""
        runtime = self.app.runtime
        runtime.stopping.set()
        try:
            await asyncio.get_running_loop().run_in_executor(None, runtime.close)
        except Exception as error:  # noqa: BLE001  (an unclean end loses nothing, but must be seen)
            log.warning("the worker could not drain: %r", error)
        for task in self._running:
            task.cancel()
        if self._web is not None:
            await self._web.cleanup()


def _tune_memory() -> None:
    """Collect less garbage, keep less of it. Both were measured; neither changes what the worker does.

    A batch makes tens of thousands of objects without cycles: looking through them costs a fifth of the throughput.
    Some fifty threads, most of them librdkafka's, would each get a heap of their own from glibc, which together hold
    100 MB more than two heaps do after 1,000,000 presses.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(M_ARENA_MAX, MALLOC_ARENAS)


def create_app(settings: Settings) -> GateApp:
    """Return the app; nothing is connected before it is started."""
    app = GateApp(
        settings.group,
        broker="kafka://",  # never used: see Boot
        web_enabled=False,
        autodiscover=False,
        Worker=GateWorker,
        # One batch at a time is in an agent's hands; the feeds hold the rest back.
        stream_wait_empty=False,
    )
    app.runtime = runtime = Runtime(settings)
    app.follow_feed = follow_feed = Feed(app, "follow")
    app.gate_feed = gate_feed = Feed(app, "gate")
    app.announce_feed = announce_feed = Feed(app, "announce")

    @app.agent(follow_feed.channel, name="follow")
    async def follow(batches: StreamT[FollowBatch]) -> None:
        async for batch in batches:
            follow_feed.ask()
            await follow_feed.work(runtime.follow.apply, batch)

    @app.agent(gate_feed.channel, name="gate")
    async def gate_requests(batches: StreamT[Batch]) -> None:
        async for batch in batches:
            await gate_feed.work(runtime.gate.process, batch, runtime.stopping.is_set)

    @app.agent(announce_feed.channel, name="announce")
    async def announce_presses(batches: StreamT[Batch]) -> None:
        async for batch in batches:
            await announce_feed.work(runtime.announce.process, batch, runtime.stopping.is_set)

    @app.service
    class _Work(Work):
        def __init__(self, **options: Any) -> None:
            super().__init__(app, **options)

    return app
