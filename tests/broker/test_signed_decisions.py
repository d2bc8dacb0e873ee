"""Signed decisions on a real broker: each verifies, also beside a trace header and through a rotation of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.signature import SIGNATURE_HEADER, parse_keys, verify_decision
from streams.judge import judge
from streams.kafka import headers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

OLD, NEW = f"old {'0a' * 32}\n", f"new {'0b' * 32}\n"
TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def test_every_decision_is_signed_and_verifies_through_a_rotation(deploy: Callable[..., Deployment]) -> None:
    """Approved, rejected and invalid alike; the worker that starts with the new key first signs with that one."""
    gate = deploy()
    gate.create_topics()
    keys = gate.folder / "keys"
    gate.environment["GATE_DECISION_KEY_FILE"] = str(keys)
    with gate.publisher() as client:
        client.press("frozen")
        for turn, text in enumerate((OLD, NEW + OLD)):
            keys.write_text(text)
            worker = gate.worker("one").wait_ready()
            for number in range(50):
                client.request(f"acc-{number}", f"w-{turn}-{number}")
            client.request("frozen", f"w-{turn}-frozen")
            # The key names another account: a decision, rejected as invalid, and a dead letter.
            invalid = f'{{"withdrawal_id":"w-{turn}-invalid","account_id":"acc"}}'.encode()
            client.raw("withdrawal-request", b"other", invalid, headers=[TRACE])
            gate.wait_decided()
            assert worker.stop() == 0
    assert judge(gate.history).findings == []
    messages = gate.read("withdrawal-decision")
    assert len(messages) == 104
    both, signers = parse_keys(NEW + OLD), []
    for message in messages:
        value, headers = message.value() or b"", headers_of(message)
        assert verify_decision(value, headers, both)
        assert not verify_decision(value.replace(b"rejected", b"approved") + b" ", headers, both)
        assert (TRACE in headers) == (b"-invalid" in value)
        signers.append((dict(headers)[SIGNATURE_HEADER] or b"").split()[1])
    assert (signers.count(b"old"), signers.count(b"new")) == (52, 52)


def test_a_bad_key_file_is_exit_2_and_repeats_no_secret(deploy: Callable[..., Deployment]) -> None:
    """The line names the setting, the file and what is wrong in which line."""
    gate = deploy()
    keys = gate.folder / "keys"
    keys.write_text("old 0a0b0c\n")
    done = gate.command("worker", GATE_DECISION_KEY_FILE=str(keys))
    assert done.returncode == 2
    assert done.stderr.startswith(f"GATE_DECISION_KEY_FILE is '{keys}'; allowed is the path of a file of signing keys")
    assert "line 1" in done.stderr
    assert "0a0b0c" not in done.stderr
