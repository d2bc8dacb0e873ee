"""Starting, stopping and refusing: exit codes and the one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from streams.judge import judge
from tests.processes import Worker, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

ROOT = Path(__file__).parent.parent.parent

WRONG = [
    ("panic-button", {"cleanup.policy": "compact"}, "cleanup.policy is compact; needed: delete"),
    ("withdrawal-decision", {"max.message.bytes": "20000"}, "max.message.bytes is 20000; needed: 22558 or more"),
    ("panic-button", {"retention.ms": "86400000"}, "retention.ms is 86400000; needed: at least 1209600000"),
    ("panic-button", {"retention.bytes": "1000000"}, "retention.bytes is 1000000; needed: -1"),
    ("panic-button", {"message.timestamp.type": "CreateTime"}, "is CreateTime; needed: LogAppendTime"),
    ("panic-button", {"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable is true"),
    ("withdrawal-request", {"message.timestamp.type": "CreateTime"}, "is CreateTime; needed: LogAppendTime"),
    ("withdrawal-request", {"cleanup.policy": "compact"}, "cleanup.policy is compact; needed: delete"),
    ("withdrawal-decision", {"cleanup.policy": "compact"}, "cleanup.policy is compact; needed: delete"),
]


@pytest.mark.parametrize(("topic", "config", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_a_topic_that_could_break_a_promise_is_refused(
    deploy: Callable[..., Deployment], topic: str, config: dict[str, str], said: str
) -> None:
    """The worker ends with 4 and names topic, setting, found and needed; `topics check` says the same with 1."""
    gate = deploy(partitions=1)
    gate.create_topics(**{topic.replace("-", "_"): config})
    checked = gate.command("topics", "check")
    assert checked.returncode == 1
    assert f"{gate.topic(topic)}: " in checked.stdout
    assert said in checked.stdout
    worker = gate.worker()
    assert worker.process.wait(30) == 4
    assert f"{gate.topic(topic)}: " in worker.log.read_text()
    assert said in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()


def test_fewer_decision_partitions_than_request_partitions_are_refused(deploy: Callable[..., Deployment]) -> None:
    """A decision lies in its request's partition number, so there must be one."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.add_partitions("withdrawal-request", 3)
    worker = gate.worker()
    assert worker.process.wait(30) == 4
    assert "partitions is 2; needed: 3 or more" in worker.log.read_text()


def test_missing_topics_are_refused_and_made_by_the_command(deploy: Callable[..., Deployment]) -> None:
    """Exit 4 says what to run; `topics create` makes them as the contract has them, and changes nothing twice."""
    gate = deploy()
    worker = gate.worker()
    assert worker.process.wait(30) == 4
    assert "needed: withdrawal-gate topics create" in worker.log.read_text()
    created = gate.command("topics", "create", "--partitions", "2")
    assert created.returncode == 0, created.stderr
    assert created.stdout.count('"created":true') == 5
    again = gate.command("topics", "create", "--partitions", "4")
    assert again.stdout.count('"created":false') == 5
    assert gate.command("topics", "check").returncode == 0
    gate.worker().wait_ready()


def test_an_unreachable_kafka_is_exit_3_within_15_seconds(deploy: Callable[..., Deployment]) -> None:
    """One clear line, no stack trace, and /readyz says why meanwhile."""
    gate = deploy(broker=f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    worker = gate.worker()
    wait_for(lambda: worker.get("/livez")[0] == 200, "the worker to live")
    assert worker.get("/readyz")[0] == 503
    assert worker.process.wait(30) == 3
    assert time.monotonic() - began < 25
    assert "gave no answer within 15 s" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()


def test_a_folder_in_use_of_another_cluster_or_damaged_is_exit_4(deploy: Callable[..., Deployment]) -> None:
    """Each with one line that says what to do."""
    gate = deploy(partitions=1)
    gate.create_topics()
    first = gate.worker("shared").wait_ready()
    second = gate.worker("shared")
    assert second.process.wait(30) == 4
    assert "is in use by another worker" in second.log.read_text()
    assert first.stop() == 0
    other = deploy(partitions=1)
    other.create_topics()
    foreign = Worker(other.environment, gate.folder / "shared", "streams")
    assert foreign.process.wait(30) == 4
    assert "belongs to another place" in foreign.log.read_text()
    current = gate.folder / "shared" / "data" / "freezes" / "CURRENT"
    current.write_bytes(b"no manifest")
    damaged = gate.worker("shared")
    assert damaged.process.wait(30) == 4
    assert "is damaged; delete it" in damaged.log.read_text()


def test_a_panic_button_made_anew_under_the_worker_is_exit_4(deploy: Callable[..., Deployment]) -> None:
    """Without the topic nothing is decided; another topic of the same name ends the worker."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    topic = gate.topic("panic-button")
    gate.admin.delete_topics([topic])[topic].result()
    wait_for(lambda: worker.get("/readyz")[0] == 503, "the worker to say that it can't decide")
    gate.command("topics", "create", "--partitions", "1")
    assert worker.process.wait(30) == 4
    assert "was made anew while the gate ran" in worker.log.read_text()


def test_a_port_in_use_is_exit_2(deploy: Callable[..., Deployment]) -> None:
    """The line names the setting, the value and what is allowed."""
    gate = deploy(partitions=1)
    gate.create_topics()
    first = gate.worker().wait_ready()
    ended = gate.command("worker", GATE_HTTP=f"127.0.0.1:{first.port}", GATE_DATA_DIR=str(gate.folder / "x"))
    assert ended.returncode == 2
    assert f"GATE_HTTP is '127.0.0.1:{first.port}'" in ended.stderr


def test_a_worker_told_to_end_does_so_within_10_seconds_while_it_decides(deploy: Callable[..., Deployment]) -> None:
    """SIGTERM in the middle of the flow: exit 0, and the next worker takes over at once."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    with gate.publisher() as client:
        for number in range(5_000):
            client.request(f"acc-{number}")
        client.flush()
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 10
        gate.worker().wait_ready()
        gate.wait_decided()
    assert judge(gate.history).findings == []


def test_fausts_own_command_runs_the_worker_too(deploy: Callable[..., Deployment]) -> None:
    """`faust -A streams.worker worker` decides like the gate's command, and listens on nothing else."""
    gate = deploy(partitions=1)
    gate.create_topics()
    port = free_port()
    log = gate.folder / "faust.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "streams.worker", "worker"],
            env={**gate.environment, "GATE_DATA_DIR": str(gate.folder / "faust"), "GATE_HTTP": f"127.0.0.1:{port}"},
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        with gate.publisher() as client:
            client.press("acc")
            client.request("acc", "w-1")
            gate.wait_decided()
        assert gate.decisions()["w-1"]["decision"] == "rejected"
        connections = psutil.Process(process.pid).net_connections("inet")
        listening = [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
        assert listening == [("127.0.0.1", port)]
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
