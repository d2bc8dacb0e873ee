"""What a worker logs: state changes and refusals, and never a word of what customers or strangers send."""

from __future__ import annotations

import json
import logging
import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment, Publisher

# It stands in everything that is sent, beside what could break a line or a terminal.
MARK = "zz-mark"
HOSTILE = f'{MARK}"}}\n2026-11-22 ERROR streams: forged \x1b[31m%s %(name)s {{}}'


def test_a_log_holds_no_id_and_no_payload_at_any_level(deploy: Callable[..., Deployment]) -> None:
    """Two workers at debug, one logging text and one JSON, are sent hostile ids in every place; neither repeats one."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.policy()
    text = gate.worker(GATE_LOG="debug").wait_ready()
    lines = gate.worker(GATE_LOG="debug", GATE_LOG_FORMAT="json").wait_ready()
    wait_for(lambda: all(worker.metric("gate_rebalances_total") for worker in (text, lines)), "both to get partitions")
    wait_for(lambda: text.metric("gate_rebalances_total") > 1, "the first to share its partitions")
    with gate.publisher() as client:
        _send_everything(client)
        gate.wait_decided()
        wait_for(lambda: {"ended"} <= {each["status"] for each in gate.values("freeze-status")}, "an end")
    for worker in (text, lines):
        assert worker.get(f"/freezes/{quote(HOSTILE, safe='')}")[0] == 404
        for nonsense in (
            f"GET /freezes/{MARK}\x00 HTTP/9\r\n\r\n",
            f"{HOSTILE}\r\n\r\n",
            f"GET / HTTP/1.1\r\n{HOSTILE}",
        ):
            _say(worker.port, nonsense.encode())
        assert worker.stop() == 0
    for log in (text.log.read_text(), lines.log.read_text()):
        assert "deciding partitions" in log
        assert MARK not in log
    said = [json.loads(line) for line in lines.log.read_text().splitlines()]
    assert all({"ts", "level", "logger", "message"} <= line.keys() for line in said)
    assert {line["level"] for line in said} <= {name.lower() for name in logging.getLevelNamesMapping()}
    decided = [line["partitions"] for line in said if "deciding partitions" in line["message"]]
    assert any(len(partitions) == 1 for partitions in decided)
    assert {"kafka", "table", "group"} <= {line.get("check") for line in said}


def test_a_refusal_to_run_is_a_line_of_json_too(deploy: Callable[..., Deployment]) -> None:
    """Whoever reads the log of a worker that exits 4 finds the reason in it, in the form that was asked for."""
    gate = deploy(partitions=1)
    worker = gate.worker(GATE_LOG_FORMAT="json")
    assert worker.process.wait(30) == 4
    said = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert any(line["level"] == "error" and "topics create" in line["message"] for line in said)


def _send_everything(client: Publisher) -> None:
    """Send the mark as each id, key, field and header: what is decided, rejected, buried twice over, pressed, ends."""
    client.press(HOSTILE, 1, press_id=f"{MARK}-press")
    headers = [("traceparent", MARK.encode()), (MARK, HOSTILE.encode())]
    for number, account_id in enumerate((HOSTILE, f"{MARK}-other", HOSTILE)):
        client.request(account_id, f"{MARK}-{number}", address=HOSTILE)
        client.request(account_id, f"{MARK}-0", address=HOSTILE)
    for topic in ("withdrawal-request", "panic-button"):
        for value in (
            f"{{{MARK}",
            json.dumps({MARK: HOSTILE}),
            json.dumps({"account_id": MARK, "withdrawal_id": [MARK]}),
        ):
            client.raw(topic, HOSTILE.encode(), value.encode(), headers=headers)
        client.raw(topic, MARK.encode() + b"\xff", None, headers=headers)


def _say(port: int, words: bytes) -> None:
    """Say something that is no HTTP, and hear the server out."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4_096):
            pass
