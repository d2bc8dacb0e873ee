"""Spans of decisions: what a receiver of OTLP gets from a worker, and what a receiver that is away costs: nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from streams.judge import judge
from tests.processes import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.deployment import Deployment, Publisher

PARENT = "b7ad6b7169203331"
# OpenTelemetry's own settings: export soon, hold little.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32"}
TRACED_WHILE_AWAY = 300


@contextmanager
def receiver(port: int) -> Iterator[list[bytes]]:
    """Serve OTLP over HTTP as a collector does; yields the bodies that were posted to /v1/traces."""
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        """One export."""

        def do_POST(self) -> None:
            """Take it."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                posted.append(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the server's own name for it)
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans_of(posted: list[bytes]) -> list[Span]:
    """Return the spans in all that was posted."""
    return [
        span
        for body in list(posted)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes_of(holder: Any) -> dict[str, str | int]:  # noqa: ANN401  (a span or a resource)
    """Return attributes by name."""
    values = ((one.key, one.value) for one in holder.attributes)
    return {name: value.int_value if value.HasField("int_value") else value.string_value for name, value in values}


def ask(client: Publisher, account: str, number: int, sampled: str) -> tuple[int, int]:
    """Ask with a trace of that number; return the request's place."""
    value = f'{{"withdrawal_id":"wid-{number}","account_id":"{account}"}}'.encode()
    trace = f"00-{number:032x}-{PARENT}-{sampled}".encode()
    return client.raw("withdrawal-request", None, value, headers=[("traceparent", trace)])


def test_a_traced_decision_is_a_span_below_its_request_and_names_nobody(deploy: Callable[..., Deployment]) -> None:
    """Approved, frozen, invalid, in one trace each; none for what is not sampled, has no trace, or is all zeros."""
    gate = deploy()
    gate.create_topics()
    port = free_port()
    with receiver(port) as posted:
        worker = gate.worker(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", **SOON).wait_ready()
        with gate.publisher() as client:
            client.press("acc-frozen")
            places = {
                1: ask(client, "acc-free", 1, "01"),
                2: ask(client, "acc-frozen", 2, "03"),
                3: ask(client, "a" * 257, 3, "01"),
            }
            ask(client, "acc-free", 4, "00")
            ask(client, "acc-free", 0, "01")
            client.request("acc-free", "wid-untraced")
            gate.wait_decided()
            ask(client, "acc-free", 5, "01")  # the last: what comes before it in a queue has been exported, too
            wait_for(lambda: 5 in {int.from_bytes(span.trace_id) for span in spans_of(posted)}, "the last span")
        assert worker.stop() == 0
    spans = {int.from_bytes(span.trace_id): span for span in spans_of(posted)}
    assert sorted(spans) == [1, 2, 3, 5]
    said = {1: {"approved"}, 2: {"rejected", "account_frozen"}, 3: {"rejected", "invalid_request"}}
    for number, (partition, offset) in places.items():
        span = spans[number]
        attributes = attributes_of(span)
        assert (span.parent_span_id.hex(), span.name) == (PARENT, f"decide {gate.topic('withdrawal-request')}")
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert {value for name, value in attributes.items() if name.startswith("gate.")} == said[number]
        place = (attributes["messaging.destination.partition.id"], attributes["messaging.kafka.offset"])
        assert place == (str(partition), offset)
    (resource, *_) = ExportTraceServiceRequest.FromString(posted[0]).resource_spans
    assert attributes_of(resource.resource)["service.name"] == "withdrawal-gate"
    assert not [body for body in posted if b"acc-" in body or b"wid-" in body or b"aaaa" in body]


def flood(gate: Deployment, client: Publisher) -> None:
    """Ask for more, all traced, than the queue of spans holds; all of it is decided."""
    client.press("acc-0")
    for number in range(1, TRACED_WHILE_AWAY):
        ask(client, f"acc-{number % 7}", number, "01")
    client.request("acc-0")
    gate.wait_decided()
    wait_for(lambda: len(gate.decisions()) == TRACED_WHILE_AWAY, "all decisions")
    assert judge(gate.history).findings == []


def test_a_receiver_that_is_away_costs_spans_and_no_decision(deploy: Callable[..., Deployment]) -> None:
    """One line says that spans don't arrive, one that they do again."""
    gate = deploy()
    gate.create_topics()
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/v1/traces"
    worker = gate.worker(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint, **SOON).wait_ready()
    numbers = count(TRACED_WHILE_AWAY)
    with gate.publisher() as client:
        flood(gate, client)
        wait_for(lambda: "spans are not exported" in worker.log.read_text(), "a line of it")
        with receiver(port) as posted:
            wait_for(lambda: (ask(client, "acc-6", next(numbers), "01"), spans_of(posted))[1], "spans")
            wait_for(lambda: "spans are exported again" in worker.log.read_text(), "a line of it")
            assert worker.stop() == 0
    told = worker.log.read_text()
    assert told.count("spans are not exported") == 1
    assert "Traceback" not in told
    assert "opentelemetry" not in told


def test_a_worker_ends_in_time_when_the_receiver_never_answers(deploy: Callable[..., Deployment]) -> None:
    """It takes connections and says nothing: decisions go on, and the drain does not wait for it."""
    gate = deploy()
    gate.create_topics()
    with socket.create_server(("127.0.0.1", 0)) as deaf, gate.publisher() as client:
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        worker = gate.worker(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **SOON).wait_ready()
        flood(gate, client)
        assert worker.stop() == 0
    assert "could not drain" not in worker.log.read_text()


def test_without_a_receiver_nothing_of_opentelemetry_is_imported() -> None:
    """Nobody pays for what nobody asked for; asked for and not installed, it is a line in the log and no more."""
    program = """
import logging, sys
from streams.runtime import open_spans
from streams.settings import Settings
logging.basicConfig()
assert open_spans(Settings.from_environment({})) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
import os
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:4318"
sys.modules["opentelemetry.exporter"] = None
assert open_spans(Settings.from_environment({})) is None
"""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", program], env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no spans are exported" in done.stderr
