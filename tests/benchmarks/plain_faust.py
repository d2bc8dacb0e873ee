"""A negative control: the same job as a plain Faust app, agents on two topics and a table, as a tutorial has it.

It shares record formats, rule and settings with the gate, so what differs is how records reach the rule and how
decisions leave it. Nothing orders presses before requests, and nothing ties a decision to its offset.
Started by `python -m tests.benchmarks.plain_faust worker`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
from confluent_kafka.admin import AdminClient

from schemas import panic_button, withdrawal_decision, withdrawal_request
from schemas.panic_button import Press, parse_press
from schemas.wire import Fault, rfc3339
from schemas.withdrawal_decision import Reason, encode_decision, write_freeze_view
from schemas.withdrawal_request import parse_request
from streams.rule import freeze_of_press, is_frozen
from streams.settings import Settings

if TYPE_CHECKING:
    from faust.types import EventT, StreamT
    from faust.web import Request, Response, View

# As short as brokers allow by default, so that a restarted worker gets its partitions back soon after a kill -9.
SESSION_SECONDS = 6


def now_ms() -> int:
    """Return this machine's time."""
    return time.time_ns() // 1_000_000


def append_ms(event: EventT[bytes]) -> int:
    """Return when the broker appended a record; Faust hands it out in seconds."""
    return round(event.message.timestamp * 1000)


def create_app(settings: Settings) -> faust.App:
    """Return the app; nothing is connected before it is started."""
    host, port = settings.http
    folder = Path(settings.data_dir) / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    return faust.App(
        settings.group,
        broker="kafka://" + settings.kafka_bootstrap.replace(",", ";"),
        store="rocksdb://",
        datadir=str(folder),
        processing_guarantee="at_least_once",
        topic_disable_leader=True,
        broker_session_timeout=SESSION_SECONDS,
        broker_rebalance_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=1,
        web_bind=host,
        web_host=host,
        web_port=port,
    )


def add_agents(app: faust.App, settings: Settings, partitions: int) -> None:
    """Fold presses into a table, decide requests by it."""
    presses, requests, decisions = (
        app.topic(settings.topic(name), key_serializer="raw", value_serializer="raw")
        for name in (panic_button.TOPIC, withdrawal_request.TOPIC, withdrawal_decision.TOPIC)
    )
    freezes: Any = app.Table("freezes", partitions=partitions, options={"driver": "rocksdict"})
    seen: dict[int, int] = {0: 0}

    @app.agent(presses)
    async def follow(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            message = event.message
            press = parse_press(message.key, event.value, message.partition, message.offset)
            if isinstance(press, Press):
                freeze = freeze_of_press(settings.policy, press.press_id, press.asked_seconds, append_ms(event))
                held = freezes.get(press.account_id)
                if held is None or held[0] < freeze.frozen_until_ms:
                    freezes[press.account_id] = [freeze.frozen_until_ms, freeze.press_id]
            seen[message.partition] = message.offset + 1

    @app.agent(requests)
    async def decide(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            message = event.message
            request = parse_request(message.key, event.value)
            if isinstance(request, Fault):
                continue
            held = freezes.get(request.account_id)
            frozen = held is not None and is_frozen(held[0], append_ms(event))
            value = encode_decision(
                withdrawal_id=request.withdrawal_id,
                account_id=request.account_id,
                reason=Reason.ACCOUNT_FROZEN if frozen else None,
                frozen_until=rfc3339(held[0]) if frozen else None,
                press_id=held[1] if frozen else None,
                decided_at=rfc3339(now_ms()),
                valid_until=None if frozen else rfc3339(now_ms() + settings.approval_seconds * 1000),
                source=f"{withdrawal_request.TOPIC}:{message.partition}:{message.offset}",
                freeze_view=write_freeze_view(seen),
                request=event.value,
            )
            await decisions.send(key=message.key, value=value, partition=message.partition)

    @app.page("/readyz")
    async def readyz(view: View, _request: Request) -> Response:
        ready = app.flow_control.is_active() and bool(app.consumer.assignment())
        return view.text("ready\n" if ready else "not ready\n", status=200 if ready else 503)


def main() -> None:
    """Run the worker until SIGTERM."""
    if sys.argv[1:] != ["worker"]:
        sys.exit("usage: python -m tests.benchmarks.plain_faust worker")
    settings = Settings.from_environment()
    topic = settings.topic(panic_button.TOPIC)
    client = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    app = create_app(settings)
    add_agents(app, settings, len(client.list_topics(topic, timeout=10).topics[topic].partitions))
    faust.Worker(app, loglevel="warning", quiet=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
