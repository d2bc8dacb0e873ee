"""The demo as somebody runs it who sees it for the first time: what it shows, its exit code, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from confluent_kafka.admin import AdminClient

from schemas.panic_button import Press
from streams.demo.stage import Narrator
from streams.demo.story import tell_verdict
from streams.judge import History, Outcome, PressRecord, PressSent, RequestSent
from tests.processes import wait_for

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
STORY_SECONDS = 150
# In this order, each on a line of its own.
STORY = (
    "using the Kafka at ",
    "five topics are made",
    "worker A (process ",
    "worker B (process ",
    "1. Withdrawals flow",
    "the first approval: ",
    "2. alice presses the panic button",
    "KAFKA HAS ACKNOWLEDGED THE PRESS, after ",
    "FIRST REJECTION, ",
    "account_frozen; alice's withdrawals resume at ",
    "since then alice got 0 of ",
    "KILL -9 of worker ",
    "HAS TAKEN OVER by itself, ",
    "alice is still rejected, now by worker ",
    "4. The verdict",
    "Verdict: every promise was kept. ",
    "How to go on",
    "make up",
    "withdrawal-gate watch",
    "withdrawal-gate request alice --wait 10",
    "withdrawal-gate press alice --hours 24",
)


def start_demo(bootstrap: str) -> subprocess.Popen[str]:
    """Start the demo as `make demo` does, piped."""
    return subprocess.Popen(
        [sys.executable, "-m", "streams", "demo"],
        env={**os.environ, "GATE_KAFKA_BOOTSTRAP": bootstrap},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def prefix_in(told: str) -> str:
    """Return the prefix of the demo's topics, as it told it."""
    found = re.search(r"their names begin with (demo-[0-9a-f]+\.)$", told, re.MULTILINE)
    assert found is not None, told
    return found[1]


def processes_of(prefix: str) -> list[psutil.Process]:
    """Return the processes that run for a demo, by their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("GATE_TOPIC_PREFIX") == prefix:
                found.append(process)
    return found


def assert_nothing_left(bootstrap: str, prefix: str) -> None:
    """No process, and no topic on a broker that is not the demo's."""
    assert not processes_of(prefix)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wait_for(
        lambda: not [topic for topic in admin.list_topics(timeout=5).topics if topic.startswith(prefix)],
        f"the topics {prefix}* to be gone",
    )


def counts_in(told: str) -> dict[str, int]:
    """Return the table of the verdict."""
    rows = re.findall(r"^ {4}([a-z][a-z ]+?) +([\d,]+)(?: +must be 0.*)?$", told, re.MULTILINE)
    return {name: int(count.replace(",", "")) for name, count in rows}


def test_the_demo_tells_its_story_and_every_promise_is_kept(bootstrap: str) -> None:
    """Exit code 0, the story in its order, counts that add up, plain text in a pipe, nothing left behind."""
    with start_demo(bootstrap) as demo:
        told, complaints = demo.communicate(timeout=STORY_SECONDS)
    assert demo.returncode == 0, told + complaints
    assert not complaints
    assert all(character == "\n" or character.isprintable() for character in told)
    places = [told.find(line) for line in STORY]
    assert -1 not in places, [line for line, place in zip(STORY, places, strict=True) if place < 0]
    assert all(earlier < later for earlier, later in pairwise(places))
    counts = counts_in(told)
    assert counts["requests"] > 2_000
    assert counts["rejected"] > 100
    assert counts["approved"] + counts["rejected"] + counts["dead letters"] == counts["requests"]
    broken = ("decided twice", "without outcome", "approved after the acknowledged press")
    assert [counts[name] for name in broken] == [0, 0, 0]
    assert_nothing_left(bootstrap, prefix_in(told))


def test_ctrl_c_ends_the_demo_quietly_and_without_a_verdict(bootstrap: str) -> None:
    """Exit code 1, for nothing was proven; no stack trace, no process, no topic."""
    with start_demo(bootstrap) as demo:
        assert demo.stdout is not None
        told = ""
        while "the first approval" not in told:
            line = demo.stdout.readline()
            assert line, told
            told += line
        prefix = prefix_in(told)
        assert len(processes_of(prefix)) == 2
        demo.send_signal(signal.SIGINT)
        rest, complaints = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert not complaints
    assert rest.endswith("stopped before the verdict; what the demo had started is ended\n")
    assert_nothing_left(bootstrap, prefix)


def test_an_approval_after_an_acknowledged_press_ends_the_demo_with_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The verdict names what was broken, and `make demo` fails."""
    press = PressSent("alice", acknowledged_at=1.0, partition=0, offset=0, append_ms=1_000)
    requests = [
        RequestSent("w-0", "bob", sent_at=0.5, partition=0, offset=0, append_ms=500),
        RequestSent("w-1", "alice", sent_at=2.0, partition=0, offset=1, append_ms=2_000),
    ]
    approvals = [
        Outcome(
            0,
            offset,
            {"withdrawal_id": f"w-{offset}", "decision": "approved", "reason": None, "freeze_view": view},
            None,
            0,
        )
        for offset, view in enumerate(("0:0", "0:0"))
    ]
    record = PressRecord(Press("alice", "p-1", 86_400), partition=0, offset=0, append_ms=1_000)
    kept = History(requests=requests[:1], outcomes=approvals[:1])
    broken = History(presses=[press], requests=requests, press_records=[record], outcomes=approvals)

    assert tell_verdict(Narrator(), kept) == 0
    assert "every promise was kept" in capsys.readouterr().out

    assert tell_verdict(Narrator(), broken) == 1
    told = capsys.readouterr().out
    assert counts_in(told)["approved after the acknowledged press"] == 1
    assert "Verdict: A PROMISE WAS BROKEN" in told
    assert "G1: request 0:1 was approved after an acknowledged press" in told
