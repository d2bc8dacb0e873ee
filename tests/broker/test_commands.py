"""The commands and endpoints as scripts, operators and probes meet them: what they print, refuse and exit with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from schemas.wire import rfc3339
from streams.cli import main
from streams.health import CHECKS
from tests.deployment import Deployment
from tests.processes import GATE, Running, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deployment import Publisher

ROOT = Path(__file__).parents[2]
INSTALLED = Path(sys.executable).with_name("withdrawal-gate")
DAY = 86_400
# An operating system command, a colour, a control sequence of C1, and a change of the writing direction.
EVIL = "\x1b]0;evil\x07\x1b[31mred\x9b2J\u202eid"
HARMLESS = "\ufffd]0;evil\ufffd\ufffd[31mred\ufffd2J\ufffdid"
# The contract's metrics, each with its labels in the order of the alphabet.
METRICS = """
gate_decisions_total{decision,reason} gate_decision_latency_seconds{} gate_freeze_latency_seconds{}
gate_barrier_wait_seconds{} gate_consumer_lag_records{partition,topic} gate_consumer_lag_seconds{topic}
gate_frozen_accounts{} gate_presses_total{adjusted} gate_dead_letters_total{reason,topic}
gate_transactions_total{outcome} gate_rebalances_total{} gate_table_restore_remaining_records{} gate_ready{}
gate_build_info{version}
"""
GROUPS = {name: group.commands for name, group in main.commands.items() if isinstance(group, click.Group)}
COMMANDS = [(), *((name,) for name in main.commands), *((group, name) for group in GROUPS for name in GROUPS[group])]
ENDING = re.compile(r"(?i)\bun-?(freez|lock|block)|\b(lift|thaw|cancel|releas|shorten|clear|end(s|ed|ing)?\b)")


@pytest.fixture(scope="module")
def gate(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return one deployment with one worker for the whole file; each test has accounts of its own."""
    deployment = Deployment(bootstrap, f"commands-{os.getpid()}", tmp_path_factory.mktemp("commands"))
    try:
        deployment.create_topics()
        deployment.worker().wait_ready()
        yield deployment
    finally:
        deployment.stop()
        deployment.delete_topics()


@pytest.fixture(scope="module", autouse=True)
def unheard(gate: Deployment) -> Iterator[Running]:
    """Start a press without Kafka, which takes 10 seconds, beside the other tests; the last one asks for its end."""
    with closing(Running(gate, *GATE, "press", "nobody", GATE_KAFKA_BOOTSTRAP=f"127.0.0.1:{free_port()}")) as press:
        yield press


def answer(ended: subprocess.CompletedProcess[str], exit_code: int) -> dict[str, Any]:
    """Return the one JSON line that a command printed; fail when it ended otherwise."""
    assert ended.returncode == exit_code, ended.stdout + ended.stderr
    assert ended.stdout.count("\n") == 1
    return dict(json.loads(ended.stdout))


def append_times(gate: Deployment) -> dict[tuple[int | None, int | None], int]:
    """Return the broker's time of each press, by partition and offset."""
    return {(message.partition(), message.offset()): message.timestamp()[1] for message in gate.read("panic-button")}


def freeze_in_force(gate: Deployment, account_id: str, press_id: str = "") -> dict[str, Any]:
    """Return what the worker says of a frozen account, once it does, by that press if it is named."""
    path = f"/freezes/{quote(account_id, safe='')}"
    wait_for(lambda: '"frozen":true' in (text := gate.workers[0].get(path)[1]) and press_id in text, path, 10)
    return dict(json.loads(gate.workers[0].get(path)[1]))


def poke(client: Publisher, done: Callable[[], Any], what: str) -> None:
    """Ask for withdrawals until something has come of it: a pipe does not tell from when on it is watched."""
    wait_for(lambda: (client.request("poked"), done())[1], what)


def send(gate: Deployment, method: str, path: str) -> int:
    """Return the HTTP status of the worker's answer to a method."""
    with closing(HTTPConnection("127.0.0.1", gate.workers[0].port, timeout=5)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


def test_press_status_and_http_agree_on_the_end_of_a_freeze(gate: Deployment) -> None:
    """One JSON line; `frozen_until` is the append time and the window, and `status` and /freezes say the same."""
    press = answer(gate.command("press", "agreed", "--hours", "72"), 0)
    assert list(press)[:4] == ["press_id", "partition", "offset", "frozen_until"]
    append_ms = append_times(gate)[press["partition"], press["offset"]]
    assert press["frozen_until"] == rfc3339(append_ms + 3 * DAY * 1000)
    told = answer(gate.command("status", "agreed"), 0)
    assert told == freeze_in_force(gate, "agreed")
    assert (told["frozen"], told["frozen_since"], told["adjusted"]) == (True, rfc3339(append_ms), press["adjusted"])
    assert [told[name] for name in ("frozen_until", "press_id")] == [press["frozen_until"], press["press_id"]]
    assert (told["asked_seconds"], told["applied_seconds"], told["adjusted"]) == (3 * DAY, 3 * DAY, None)


def test_a_length_out_of_bounds_is_moved_and_never_refused(gate: Deployment) -> None:
    """Raised to the minimum, lowered to the maximum, defaulted when there is none; the worker agrees."""
    lengths: list[tuple[int, str, tuple[str, ...]]] = [
        (2 * DAY, "defaulted", ()),
        (DAY, "raised", ("--hours", "1")),
        (DAY, "raised", ("--seconds", "-5")),
        (7 * DAY, "lowered", ("--seconds", str(7 * DAY + 1))),
        (7 * DAY, "lowered", ("--hours", "9" * 30)),
    ]
    presses = [answer(gate.command("press", f"bounds{length}", *length), 0) for _, _, length in lengths]
    times = append_times(gate)
    for press, (applied, adjusted, length) in zip(presses, lengths, strict=True):
        assert press["adjusted"] == adjusted, length
        assert press["frozen_until"] == rfc3339(times[press["partition"], press["offset"]] + applied * 1000), length
        served = freeze_in_force(gate, press["account_id"])
        assert (served["frozen_until"], served["adjusted"]) == (press["frozen_until"], adjusted), length


def test_wrong_arguments_are_exit_2_and_nothing_is_published(gate: Deployment) -> None:
    """One line on stderr that names the argument, nothing on stdout, and no topic grows."""
    before = gate.end_offsets("panic-button"), gate.end_offsets("withdrawal-request")
    wrong = [
        ("--seconds", "press", "acc", "--hours", "48", "--seconds", "172800"),
        ("ACCOUNT", "press", ""),
        ("ACCOUNT", "status", "x" * 257),
        ("--id", "request", "acc", "--id", "x" * 129),
        ("--amount", "request", "acc", "--amount", "1e9"),
    ]
    for name, *arguments in wrong:
        ended = gate.command(*arguments)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), arguments
        assert ended.stderr.startswith(f"{name} is "), arguments
    assert (gate.end_offsets("panic-button"), gate.end_offsets("withdrawal-request")) == before


@pytest.mark.parametrize("command", [("topics", "check"), ("topics", "create"), ("status", "acc")], ids=" ".join)
def test_a_command_interrupted_before_its_answer_is_not_exit_0(gate: Deployment, command: tuple[str, ...]) -> None:
    """Kafka takes the connection and says nothing; Ctrl-C then must not tell a script that all is fine."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(20)
        bootstrap = f"127.0.0.1:{mute.getsockname()[1]}"
        with closing(Running(gate, *GATE, *command, GATE_KAFKA_BOOTSTRAP=bootstrap)) as asked, mute.accept()[0]:
            assert asked.end(signal.SIGINT)[0] == 3


def test_request_waits_for_its_outcome_and_exits_by_it(gate: Deployment) -> None:
    """Approved is 0; frozen is 1 with the decision; the same id a second time is 1 with its dead letter."""
    ask = ("request", "asking", "--id", "asked-once", "--amount", "3.5", "--wait", "20")
    approved = answer(gate.command(*ask), 0)
    assert (approved["withdrawal_id"], approved["decision"], approved["reason"]) == ("asked-once", "approved", None)
    assert approved["request"]["amount"] == "3.5"
    buried = answer(gate.command(*ask), 1)
    assert (list(buried), buried["dead_letter"]) == (["dead_letter", "detail"], "duplicate_withdrawal")
    with gate.publisher() as client:
        client.press("asking", DAY, press_id="stop")
    rejected = answer(gate.command("request", "asking", "--wait", "20"), 1)
    assert (rejected["decision"], rejected["reason"], rejected["press_id"]) == ("rejected", "account_frozen", "stop")
    assert rejected["frozen_until"] == freeze_in_force(gate, "asking")["frozen_until"]


def test_request_without_a_worker_says_that_there_is_no_decision(deploy: Callable[..., Deployment]) -> None:
    """Silence is no approval: exit 1, `decision` null, and a hint for whoever waits."""
    idle = deploy(partitions=1)
    idle.create_topics()
    assert answer(ended := idle.command("request", "acc", "--wait", "1"), 1) == {"decision": None, "waited_seconds": 1}
    assert "does a worker run" in ended.stderr
    sent = answer(idle.command("request", "acc", "--id", "unheard"), 0)
    assert sent == {"withdrawal_id": "unheard", "account_id": "acc", "partition": 0, "offset": 1}


def test_status_folds_every_press_that_names_the_account(gate: Deployment) -> None:
    """Overlapping presses in any partition, one without a key, one whose body can't be read; exit 1 for no press."""
    places = []
    with gate.publisher() as client:
        for partition, (press_id, days) in enumerate((("first", 2), ("longest", 7), ("shorter", 1))):
            body = {"account_id": "overlapping", "press_id": press_id, "freeze_seconds": days * DAY}
            places.append(client.raw("panic-button", None, json.dumps(body).encode(), partition=partition))
        client.raw("panic-button", None, b'{"account_id":"keyless","freeze_seconds":90000}')
        partition, offset = client.raw("panic-button", b"unreadable", b"{panic")
    told = {account: answer(gate.command("status", account), 0) for account in ("overlapping", "keyless", "unreadable")}
    for account, found in told.items():
        assert found == freeze_in_force(gate, account, found["press_id"])
    first_ms, longest_ms, _ = (append_times(gate)[place] for place in places)
    assert told["overlapping"]["frozen_since"] == rfc3339(first_ms)
    assert told["overlapping"]["frozen_until"] == rfc3339(longest_ms + 7 * DAY * 1000)
    assert told["overlapping"]["press_id"] == "longest"
    assert (told["keyless"]["applied_seconds"], told["keyless"]["adjusted"]) == (90_000, None)
    assert (told["unreadable"]["applied_seconds"], told["unreadable"]["adjusted"]) == (2 * DAY, "defaulted")
    assert told["unreadable"]["press_id"] == f"panic-button:{partition}:{offset}"
    never = answer(gate.command("status", "never-pressed"), 1)
    assert never == {**dict.fromkeys(told["keyless"]), "account_id": "never-pressed", "frozen": False}


def test_watch_piped_prints_json_lines_until_ctrl_c(gate: Deployment) -> None:
    """`topic` is first; decision, status and dead letter appear, the dead letter without its record; exit 0."""
    with gate.publisher() as client, closing(Running(gate, *GATE, "watch")) as watch:
        poke(client, lambda: watch.said, "watch to show a first decision")
        client.press("watched", DAY, press_id="seen")
        client.request("watched", "seen-too")
        partition, offset = client.raw("withdrawal-request", b"secret-key", b'{"account_id":"secret-body"}')
        source = f"withdrawal-request:{partition}:{offset}"
        wanted = ('"watched","status":"frozen"', '"seen-too"', f'"source":"{source}"')
        wait_for(lambda: all(piece in watch.said for piece in wanted), "a status, a decision, a dead letter")
        assert watch.end(signal.SIGINT) == (0, "")
    records = watch.records()
    assert {next(iter(record)) for record in records} == {"topic"}
    [decision] = [record for record in records if record.get("withdrawal_id") == "seen-too"]
    assert (decision["topic"], decision["reason"]) == ("withdrawal-decision", "account_frozen")
    [status] = [record for record in records if record["topic"] == "freeze-status" and record["press_id"] == "seen"]
    assert (status["account_id"], status["status"]) == ("watched", "frozen")
    [buried] = [record for record in records if record.get("source") == source]
    assert list(buried) == ["topic", "reason", "detail", "source", "at"]
    assert (buried["topic"], buried["reason"]) == ("dead-letter", "no_withdrawal_id")
    assert "secret" not in watch.said


def test_watch_since_shows_first_what_came_before_it(gate: Deployment) -> None:
    """Whoever is woken by an alert reads the dead letter that woke them; what is no time is refused in one line."""
    with gate.publisher() as client:
        since = rfc3339(time.time_ns() // 1_000_000)
        partition, offset = client.raw("withdrawal-request", b"key", b"not json")
    source = f"withdrawal-request:{partition}:{offset}"
    wait_for(lambda: any(source in str(letter.headers()) for letter in gate.read("dead-letter")), "the dead letter")
    with closing(Running(gate, *GATE, "watch", "--since", since)) as watch:
        wait_for(lambda: source in watch.said, "watch to show the dead letter from before")
        assert watch.end(signal.SIGINT) == (0, "")
    refused = gate.command("watch", "--since", "yesterday")
    assert refused.returncode == 2
    assert refused.stderr == "--since is 'yesterday'; allowed is an RFC 3339 time, for example 2026-11-22T09:00:00Z\n"


@pytest.mark.parametrize("goes_on", [True, False])
def test_watch_ends_quietly_when_nobody_reads_the_pipe(gate: Deployment, *, goes_on: bool) -> None:
    """`withdrawal-gate watch | head -1`: one line, exit 0, no complaint, whether more records come or none."""
    shell = ("/bin/sh", "-c", '{ "$@" watch; echo "exit $?" >&2; } | head -1', "sh", *GATE)
    with gate.publisher() as client, closing(Running(gate, *shell, PYTHONUNBUFFERED="")) as piped:
        poke(client, lambda: piped.process.poll() is not None if goes_on else piped.said, "the pipe to be closed")
        assert piped.end() == (0, "exit 0\n")
    assert [next(iter(record)) for record in piped.records()] == ["topic"]


def test_no_control_character_of_an_id_reaches_a_terminal(gate: Deployment) -> None:
    """Ids come from outside: in `watch` and `status` on a terminal they set no title, colour or writing direction."""
    with gate.publisher() as client, closing(Running(gate, *GATE, "watch", terminal=True)) as watch:
        wait_for(lambda: "from now on; Ctrl-C ends" in watch.said, "watch to say that it watches")
        client.press(EVIL, press_id=EVIL)
        client.request(EVIL)
        wait_for(lambda: watch.said.count("]0;evil") == 2, "the status and the decision")
        assert watch.end(signal.SIGINT)[0] == 0
    with closing(Running(gate, *GATE, "status", EVIL, terminal=True)) as status:
        assert status.end()[0] == 0
    for shown in (watch.said, status.said):
        assert shown.count(HARMLESS) == 2, ascii(shown)
        assert not [piece for piece in ("\x1b]", "\x07", "\x1b[31mred", "\x9b", "\u202e") if piece in shown]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "itself")
def test_each_command_explains_itself(path: tuple[str, ...]) -> None:
    """`--help` and `-h` are exit 0 without Kafka, and show exit codes or an example."""
    helped = CliRunner().invoke(main, [*path, "--help"])
    assert helped.exit_code == 0
    assert CliRunner().invoke(main, [*path, "-h"]).output == helped.output
    assert re.search(r"Example: |Exit codes: |\bexit [0-4]\b", helped.output), helped.output


def test_no_command_offers_to_end_or_shorten_a_freeze() -> None:
    """G2 at the command line: no name or option is a word for it, and what a help says of it is that it can't be."""
    for path in COMMANDS:
        helped = " ".join(CliRunner().invoke(main, [*path, "--help"]).output.split())
        assert not [name for name in (*path, *re.findall(r"--[a-z-]+", helped)) if ENDING.search(name)]
        offered = [said for said in re.split(r"(?<=[.:;]) ", helped) if "freeze" in said and ENDING.search(said)]
        assert not [said for said in offered if "can't" not in said], path


def test_the_installed_command_tells_its_version_and_refuses_what_it_does_not_know() -> None:
    """`withdrawal-gate --version` is exit 0; an unknown command, and one that would end a freeze, exit 2."""
    versioned = subprocess.run([INSTALLED, "--version"], capture_output=True, text=True, check=False)
    assert re.fullmatch(r"0withdrawal-gate, version \d+\.\d+\.\d+\n", f"{versioned.returncode}{versioned.stdout}")
    for unknown in ("nonsense", "unfreeze"):
        refused = subprocess.run([INSTALLED, unknown, "acc"], capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"No such command '{unknown}'" in refused.stderr


def test_the_probes_answer_and_verbose_lists_each_check(gate: Deployment) -> None:
    """A healthy worker: 200, one word; with ?verbose a line for each check before it."""
    worker = gate.workers[0]
    assert worker.get("/livez") == (200, "ok\n")
    assert worker.get("/readyz") == (200, "ready\n")
    listed = "".join(f"[+] {check}: ok\n" for check in CHECKS)
    assert worker.get("/readyz?verbose") == (200, f"{listed}ready\n")


def test_every_metric_of_the_contract_is_exported_with_its_labels(gate: Deployment) -> None:
    """What a Prometheus client parses has each name and label of the contract, and no id in any label."""
    worker = gate.workers[0]
    with gate.publisher() as client:
        client.press("unlabelled", DAY)
        client.request("unlabelled", "unlabelled-too")
        client.raw("withdrawal-request", b"unlabelled", None)
    wait_for(lambda: worker.metric('gate_decisions_total{decision="rejected",reason="account_frozen"}'), "a rejection")
    buried = 'gate_dead_letters_total{reason="unreadable",topic="withdrawal-request"}'
    wait_for(lambda: worker.metric(buried), "a dead letter")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(worker.get("/metrics")[1]):
        for sample in family.samples:
            name = family.name if family.type == "histogram" else sample.name
            found.setdefault(name, set()).update(sample.labels.keys() - {"le"})
            assert not [value for value in sample.labels.values() if "unlabelled" in value]
    shown = {f"{name}{{{','.join(sorted(labels))}}}" for name, labels in found.items() if name.startswith("gate_")}
    assert set(METRICS.split()) <= shown


def test_http_only_reads(gate: Deployment) -> None:
    """No method that writes is answered with anything but 405: nothing ends a freeze over HTTP."""
    for path, read in (("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/freezes/acc", 404)):
        assert [send(gate, method, path) for method in ("POST", "PUT", "PATCH", "DELETE")] == [405] * 4, path
        assert send(gate, "GET", path) == read, path


def test_http_refuses_what_can_not_be_an_account(gate: Deployment) -> None:
    """257 characters are 400; 256, in four bytes each, are 404 as long as nobody pressed; other paths are 404."""
    worker = gate.workers[0]
    assert worker.get(f"/freezes/{'x' * 257}")[0] == 400
    status, text = worker.get(f"/freezes/{quote(256 * chr(0x1F512))}")
    assert (status, json.loads(text)) == (404, {"account_id": 256 * "\U0001f512", "frozen": False})
    assert [worker.get(path)[0] for path in ("/", "/freezes", "/freezes/", "/freezes/a/b", "/unfreeze/a")] == [404] * 5


def test_percent_encoded_ids_are_looked_up_as_they_were_pressed(gate: Deployment) -> None:
    """A slash, a NUL, unicode, and ids that look as if they were encoded already."""
    ids = ["with/slash", "nul\0nul", "日本-ünï-\U0001f512", "100%", "with%2Fslash", "a b+c", "?a=1#b", "x" * 256, ".."]
    with gate.publisher() as client:
        for account_id in ids:
            client.send_press(account_id, DAY, press_id=f"of {account_id[:100]}")
    for account_id in ids:
        served = freeze_in_force(gate, account_id)
        assert (served["account_id"], served["press_id"]) == (account_id, f"of {account_id[:100]}")


def test_a_press_without_kafka_is_exit_3_and_says_that_it_was_not_sent(unheard: Running) -> None:
    """One line on stderr and nothing on stdout: no script can take it for a press that counts."""
    exit_code, complaints = unheard.end()
    assert (exit_code, unheard.said, complaints.count("\n")) == (3, "", 1)
    assert complaints.endswith("; the press was not sent\n")
