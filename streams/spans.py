"""OpenTelemetry spans: one for each decision whose request came with a sampled trace, sent by OTLP over HTTP.

Imported only when the environment names a receiver (`runtime.open_spans`); the rest is OpenTelemetry's own: OTEL_*
variables, a bounded queue that drops what does not fit, a thread that exports. Nothing here waits for a receiver: one
that is slow or away costs spans and no decision. A span names places and verdicts, never an account or a withdrawal.
"""

from __future__ import annotations

import logging
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas import withdrawal_request
from schemas.withdrawal_decision import TRACE_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from schemas.withdrawal_decision import Reason
    from streams.settings import Settings

log = logging.getLogger(__name__)
# Making a span takes the thread that commits some 35 µs. As many as OpenTelemetry exports at once by default, so that
# a large batch in which everything is traced takes some 20 ms longer at most.
MAX_SPANS_A_BATCH = 512
FLUSH_SECONDS = 1.0

# A decision that was traced: the request's traceparent, partition and offset, why it was rejected (None: approved).
Traced = tuple[bytes, int, int, "Reason | None"]


class Spans:
    """Makes spans and hands them over; never raises for a receiver, never waits for one but in `close`."""

    def __init__(self, settings: Settings) -> None:
        """Take everything else from the OTEL_* variables; they win where both say something."""
        resource = Resource({"service.name": "withdrawal-gate"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(TellingExporter()))
        self._tracer = self._provider.get_tracer("withdrawal-gate")
        self._parent = TraceContextTextMapPropagator()
        topic = settings.topic(withdrawal_request.TOPIC)
        self._name = f"decide {topic}"
        # OpenTelemetry's semantic conventions for Kafka, 1.44.
        self._common = {
            "messaging.system": "kafka",
            "messaging.operation.name": "decide",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": settings.group,
        }

    def decided(self, started_ns: int, traced: Iterable[Traced]) -> None:
        """Take note of a batch's decisions, just committed; `started_ns` is when the batch was taken up."""
        ended_ns = time.time_ns()
        sampled = (one for one in traced if int(one[0][-2:], 16) & 1)
        for traceparent, partition, offset, reason in islice(sampled, MAX_SPANS_A_BATCH):
            context = self._parent.extract({TRACE_HEADER: traceparent.decode("ascii")})
            if not get_current_span(context).get_span_context().is_valid:
                continue  # all zeros: it would begin a trace of its own
            attributes: dict[str, str | int] = {
                **self._common,
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
                "gate.decision": "approved" if reason is None else "rejected",
            }
            if reason is not None:
                attributes["gate.reason"] = reason
            span = self._tracer.start_span(
                self._name, context, SpanKind.CONSUMER, attributes=attributes, start_time=started_ns
            )
            span.end(ended_ns)

    def close(self) -> None:
        """Send what is left, for as long as a worker that ends can wait."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(FLUSH_SECONDS)


class TellingExporter(SpanExporter):
    """OpenTelemetry's exporter, which says once that spans do not arrive, and once that they do again."""

    def __init__(self) -> None:
        """Keep the client's own lines, one or more for each attempt, out of the log."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._inner = OTLPSpanExporter()
        self._arrive = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; in the exporting thread."""
        result = self._inner.export(spans)
        arrive = result is SpanExportResult.SUCCESS
        if arrive and not self._arrive:
            log.info("spans are exported again")
        elif self._arrive and not arrive:
            log.warning("spans are not exported: the OTLP receiver does not take them; decisions go on")
        self._arrive = arrive
        return result

    def shutdown(self) -> None:
        """Break off what is being sent."""
        self._inner.shutdown()
