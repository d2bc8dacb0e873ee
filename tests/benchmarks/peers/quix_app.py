"""The job with Quix Streams: presses and requests merged by key, the freeze in the key's state."""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State, message_context

from tests.benchmarks.peers import job

# Its default of 5 s shows decisions late, and in steps too long to measure: the second half would hold one or two.
COMMIT_SECONDS = 0.5
# What a killed process left open holds back every reader until then; librdkafka's default is a minute.
TRANSACTION_MS = 10_000


def place() -> str:
    """Return partition and offset of the record at hand."""
    context = message_context()
    return f"{context.partition}:{context.offset}"


def apply(value: dict[str, Any], _key: object, append_ms: int, _headers: object, state: State) -> dict[str, Any] | None:
    """Fold a press into the state, or decide a request by it."""
    held = state.get("freeze")
    if "withdrawal_id" in value:
        return job.decide(held, value, append_ms, place())
    state.set("freeze", job.freeze(held, value, append_ms, place()))
    return None


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=job.BOOTSTRAP,
        consumer_group=job.GROUP,
        processing_guarantee=sys.argv[1],
        auto_offset_reset="earliest",
        commit_interval=COMMIT_SECONDS,
        state_dir=job.DATA_DIR,
        loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": job.SESSION_MS, "fetch.queue.backoff.ms": 10},
        producer_extra_config={"compression.type": "lz4", "linger.ms": 20, "transaction.timeout.ms": TRANSACTION_MS},
    )
    presses = app.dataframe(app.topic(job.PRESSES))
    requests = app.dataframe(app.topic(job.REQUESTS))
    decisions = presses.concat(requests).apply(apply, stateful=True, metadata=True)
    decisions.filter(lambda value: value is not None).to_topic(app.topic(job.DECISIONS))
    app.run()


if __name__ == "__main__":
    main()
