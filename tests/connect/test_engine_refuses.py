"""The reference engines pay nothing on a word that is not the gate's, is for trial only, or comes too late."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from schemas.signature import SIGNATURE_HEADER, SigningKeys, parse_keys
from schemas.wire import parse_rfc3339
from tests.connect.engines import engine_of, outcomes_of, states_of
from tests.connect.rail import open_rail
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.connect.programs import EngineProgram
    from tests.deployment import Deployment, Publisher

KEYS = f"old {'ab' * 32}\nnow {'cd' * 32}\n"
OTHER = SigningKeys({"old": b"\x01" * 32})
UNSIGNED = "refused, it is not signed by one of the keys"
SHADOW = "refused, it is of the shadow mode and decides nothing"
WRONG = "refused, it does not keep to the schema"


def forge(client: Publisher, real: dict[str, Any]) -> list[str]:
    """Write what was never decided, all of it to one partition; return what an engine has to say, in order."""
    keys = parse_keys(KEYS)
    best = {**real, "withdrawal_id": "w-forged", "valid_until": "2999-01-01T00:00:00.000Z"}
    signature = keys.sign(json.dumps(best).encode())
    cases: list[tuple[dict[str, Any], list[bytes] | None, str]] = [
        (best, [], UNSIGNED),
        ({**best, "account_id": "acc-thief"}, [signature], UNSIGNED),
        (best, [OTHER.sign(json.dumps(best).encode())], UNSIGNED),
        (best, [signature.replace(b"old", b"new")], UNSIGNED),
        (best, [signature.replace(b"v1", b"v2")], UNSIGNED),
        (best, [signature, signature], UNSIGNED),
        ({**best, "shadow": True}, None, SHADOW),
        ({**best, "shadow": None}, None, SHADOW),
        ({**best, "decision": "approve"}, None, WRONG),
        ({**best, "valid_until": "2999-01-01T00:00:00"}, None, WRONG),
        ({**best, "valid_until": None}, None, WRONG),
        ({**best, "withdrawal_id": ""}, None, WRONG),
        ({**best, "account_id": 7}, None, WRONG),
    ]
    for body, signatures, _ in cases:
        value = json.dumps(body).encode()
        signed = [keys.sign(value)] if signatures is None else signatures
        headers = [(SIGNATURE_HEADER, one) for one in signed]
        client.raw("withdrawal-decision", None, value, partition=0, headers=headers)
    return [said for _, _, said in cases]


def test_an_engine_pays_only_what_the_gate_signed_for_real_and_in_time(
    deploy: Callable[..., Deployment], engine_program: EngineProgram
) -> None:
    """Forged, unsigned, of another key, altered, of the shadow mode, out of shape, expired: nothing of it leaves."""
    gate = deploy(GATE_APPROVAL_SECONDS="5")
    keys = gate.folder / "keys"
    keys.write_text(KEYS)
    gate.environment["GATE_DECISION_KEY_FILE"] = str(keys)
    gate.create_topics()
    gate.worker().wait_ready()
    ledger = gate.folder / "ledger.sqlite"
    with open_rail() as rail, gate.publisher() as client:
        client.request("acc-1", "w-late")
        gate.wait_decided()
        real = gate.decisions()["w-late"]
        refused = forge(client, real)
        lease_ends = parse_rfc3339(real["valid_until"])
        wait_for(lambda: time.time() * 1000 > lease_ends, "the end of the lease")
        with engine_of(gate, *engine_program.command, str(ledger), rail.url) as engine:
            wait_for(lambda: len(outcomes_of(engine)) > len(refused), "the engine to read everything")
            client.press("acc-2")
            client.request("acc-2", "w-frozen")
            client.request("acc-1", "w-good")
            wait_for(lambda: {"w-frozen", "w-good"} <= dict(outcomes_of(engine)).keys(), "the engine to go on")
            assert engine.stop() == engine_program.terminated
            said = outcomes_of(engine)
    assert [outcome for what, outcome in said if what.startswith("0:")] == refused
    assert states_of(ledger) == {"w-late": "expired", "w-frozen": "rejected", "w-good": "released"}
    assert ([payment.withdrawal_id for payment in rail.payments], rail.late) == (["w-good"], [])
