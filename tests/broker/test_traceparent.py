"""A request's trace goes on with its decision and its dead letter, whatever is decided; what is no trace does not."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from streams.judge import judge
from streams.kafka import headers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.dead_letter import Headers
    from tests.deployment import Deployment

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
OTHER = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00")
STATE = ("tracestate", b"vendor=1")
# Request, its headers, whether a decision and whether a dead letter comes of it, and the decision's headers.
REQUESTS: list[tuple[bytes, Headers, bool, bool, Headers]] = [
    (b'{"withdrawal_id":"approved","account_id":"a"}', [STATE, TRACE], True, False, [TRACE]),
    (b'{"withdrawal_id":"rejected","account_id":"frozen"}', [TRACE, STATE], True, False, [TRACE]),
    (b'{"withdrawal_id":7,"account_id":"a"}', [STATE, TRACE], True, True, [TRACE]),
    (b'{"withdrawal_id":"approved","account_id":"a"}', [TRACE, STATE], False, True, []),
    (b'{"account_id":"a"}', [TRACE], False, True, []),
    (b'{"withdrawal_id":"the first of two","account_id":"a"}', [TRACE, OTHER], True, False, [TRACE]),
    (b'{"withdrawal_id":"no headers","account_id":"a"}', [], True, False, []),
    (b'{"withdrawal_id":"no trace","account_id":"a"}', [STATE], True, False, []),
    (b'{"withdrawal_id":"null","account_id":"a"}', [("traceparent", None)], True, False, []),
    (b'{"withdrawal_id":"too short","account_id":"a"}', [("traceparent", TRACE[1][:-1])], True, False, []),
    (b'{"withdrawal_id":"and more","account_id":"a"}', [("traceparent", TRACE[1] + b"\n")], True, False, []),
    (b'{"withdrawal_id":"upper case","account_id":"a"}', [("traceparent", TRACE[1].upper())], True, False, []),
]


def test_a_trace_is_carried_to_each_outcome_of_its_request(deploy: Callable[..., Deployment]) -> None:
    """A decision has the first traceparent and no other header; a dead letter has all headers, as they came."""
    gate = deploy(partitions=1)
    gate.create_topics()
    gate.worker().wait_ready()
    with gate.publisher() as client:
        client.press("frozen")
        places = [client.raw("withdrawal-request", None, value, headers=sent) for value, sent, *_ in REQUESTS]
        client.request("a", "last")
        gate.wait_decided()
    found = [(message.value() or b"", headers_of(message)) for message in gate.read("withdrawal-decision")]
    letters = [headers_of(message) for message in gate.read("dead-letter")]
    buried = {dict(headers)["gate-source"]: headers[:-3] for headers in letters}
    for (value, sent, decided, dead, carried), (_, offset) in zip(REQUESTS, places, strict=True):
        source = f"withdrawal-request:0:{offset}"
        on_it = [headers for written, headers in found if f'"{source}"'.encode() in written]
        assert on_it == ([carried] if decided else []), value
        assert buried.get(source.encode()) == (sent if dead else None), value


def test_a_traceparent_as_large_as_a_record_stops_nobody(deploy: Callable[..., Deployment]) -> None:
    """Copied, it would make the decision larger than its topic takes, and the partition would stand still for good."""
    gate = deploy(partitions=1)
    gate.create_topics(withdrawal_decision={"max.message.bytes": "40000"})
    gate.worker().wait_ready()
    with gate.publisher() as client:
        # Bytes that don't compress: the limit counts them as they travel.
        noise = random.Random(0).randbytes(36_000)
        value = b'{"withdrawal_id":"w","account_id":"a","memo":"' + noise[:8_000].hex().encode() + b'"}'
        client.raw("withdrawal-request", None, value, headers=[("traceparent", noise)])
        client.request("a", "next")
        gate.wait_decided()
    assert judge(gate.history).findings == []
    assert {one["withdrawal_id"]: one["decision"] for one in gate.values("withdrawal-decision")} == {
        "w": "approved",
        "next": "approved",
    }
