"""docker-compose.yml and deploy/Dockerfile, held against the code they start: they can't be run in every place."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.topics import DEFAULT_PARTITIONS
from streams.dev_broker import KAFKA_VERSION
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
WORKERS = ("gate-1", "gate-2")
MONITORING = ("prometheus", "grafana")
PROFILES = {"prometheus": ["monitoring"], "grafana": ["monitoring"], "drill": ["monitoring"], "kafka-ui": ["ui"]}
SETTINGS = {setting.metadata["name"] for setting in fields(Settings)}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the compose file, its anchors resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Return the Dockerfile's steps: the instruction and the rest of it on one line."""
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(words[0], words[1]) for words in (line.split(maxsplit=1) for line in joined.splitlines())]


def last_stage(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the steps of the stage that becomes the image."""
    last_from = max(place for place, (instruction, _) in enumerate(steps) if instruction == "FROM")
    return steps[last_from:]


def image_environment(steps: list[tuple[str, str]]) -> dict[str, str]:
    """Return the variables that the image sets."""
    pairs = [pair for instruction, rest in last_stage(steps) if instruction == "ENV" for pair in rest.split()]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def test_compose_runs_the_kafka_that_the_tests_run(compose: dict[str, Any]) -> None:
    """What holds on the development broker is tried on the same version in Docker."""
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_every_setting_that_is_named_exists(compose: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    """A misspelt GATE_ variable would be ignored without a word."""
    named = {name for name in image_environment(steps) if name.startswith("GATE_")}
    for service in compose["services"].values():
        named |= {name for name in service.get("environment", {}) if name.startswith("GATE_")}
    assert {"GATE_KAFKA_BOOTSTRAP", "GATE_HTTP", "GATE_DATA_DIR"} <= named <= SETTINGS


def test_the_settings_of_the_containers_are_accepted(compose: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    """Every value passes the checks that the worker makes at its start."""
    for name in ("topics", "drill", *WORKERS):
        settings = Settings.from_environment(image_environment(steps) | compose["services"][name]["environment"])
        assert settings.kafka_bootstrap == "kafka:19092"
        assert settings.http == ("0.0.0.0", 8080)  # noqa: S104  (inside the container; published on loopback)


def test_every_service_that_stays_has_a_health_check(compose: dict[str, Any]) -> None:
    """Kafka is asked for an answer, a worker whether it may decide, what watches them whether it can serve."""
    services = compose["services"]
    assert "kafka-broker-api-versions.sh" in " ".join(services["kafka"]["healthcheck"]["test"])
    for worker in WORKERS:
        assert "/readyz" in " ".join(services[worker]["healthcheck"]["test"])
    for name in (*MONITORING, "kafka-ui"):
        port = services[name]["ports"][0].rpartition(":")[2]
        assert f"http://127.0.0.1:{port}/" in services[name]["healthcheck"]["test"][-1]
    assert services["topics"]["healthcheck"] == {"disable": True}


def test_every_port_is_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    """Neither Kafka nor a worker's HTTP asks who is there, nor what watches them."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert len({port.split(":")[1] for port in ports}) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_two_workers_keep_their_tables_in_folders_of_their_own(
    compose: dict[str, Any], steps: list[tuple[str, str]]
) -> None:
    """A RocksDB folder has one owner, and lies in a volume that outlives the container."""
    volumes = [compose["services"][worker]["volumes"] for worker in WORKERS]
    names = [volume.partition(":")[0] for (volume,) in volumes]
    assert len(set(names)) == 2
    assert set(names) <= compose["volumes"].keys()
    targets = {volume.partition(":")[2] for (volume,) in volumes}
    assert targets == {"/data"}
    assert image_environment(steps)["GATE_DATA_DIR"] == "/data"


def test_workers_start_once_the_topics_are_there(compose: dict[str, Any]) -> None:
    """A worker refuses to start without its topics, so the order is Kafka, topics, workers."""
    services = compose["services"]
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert services["topics"]["command"] == ["topics", "create", "--partitions", str(DEFAULT_PARTITIONS)]
    for worker in WORKERS:
        assert services[worker]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
        assert services[worker]["command"] == ["worker"]


def test_containers_of_the_gate_can_do_no_more_than_they_need(compose: dict[str, Any]) -> None:
    """No root file system to write to, no capability, no way to gain one, and time to drain."""
    for name in ("topics", "drill", *WORKERS):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108  (of the container)
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["stop_grace_period"] == "15s"
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_monitoring_starts_when_asked_for_only_and_can_change_nothing(compose: dict[str, Any]) -> None:
    """A profile of its own, images of one version, what is ours read-only, nobody logs in."""
    profiles = {name: service["profiles"] for name, service in compose["services"].items() if "profiles" in service}
    assert profiles == PROFILES
    for name in (*MONITORING, "kafka-ui"):
        service = compose["services"][name]
        assert re.fullmatch(r"(ghcr\.io/)?[a-z]+/[a-z-]+:v?\d+\.\d+\.\d+", service["image"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        volumes = service.get("volumes", [])
        assert [volume for volume in volumes if volume.startswith("./") and not volume.endswith(":ro")] == []
        assert {volume.split(":")[0] for volume in volumes if volume[0] != "."} <= compose["volumes"].keys()
    ui = compose["services"]["kafka-ui"]["environment"]
    assert (ui["KAFKA_CLUSTERS_0_READONLY"], ui["DYNAMIC_CONFIG_ENABLED"]) == ("true", "false")
    assert ui["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == compose["x-gate-environment"]["GATE_KAFKA_BOOTSTRAP"]
    grafana = compose["services"]["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == "false"
    assert grafana["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"


def test_kafka_tells_containers_and_this_machine_different_addresses(compose: dict[str, Any]) -> None:
    """Each advertised listener is listened on and has a protocol, and the published port is the host's."""
    kafka = compose["services"]["kafka"]["environment"]
    advertised = dict(listener.split("://") for listener in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listened = dict(listener.split("://") for listener in kafka["KAFKA_LISTENERS"].split(","))
    protocols = dict(pair.split(":") for pair in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert listened.keys() == protocols.keys()
    assert advertised == {"INTERNAL": "kafka:19092", "HOST": "127.0.0.1:9092"}
    assert all(address.endswith(listened[name]) for name, address in advertised.items())
    assert kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"].endswith(listened["CONTROLLER"])
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_image_runs_as_a_fixed_user_who_is_not_root(steps: list[tuple[str, str]]) -> None:
    """Who breaks out of the worker is nobody on the machine."""
    users = [rest for instruction, rest in last_stage(steps) if instruction == "USER"]
    assert users == ["10001:10001"]
    made = " ".join(rest for instruction, rest in last_stage(steps) if instruction == "RUN")
    assert "--uid 10001" in made
    assert "--gid 10001" in made


def test_the_image_holds_locked_packages_only(steps: list[tuple[str, str]]) -> None:
    """Each download is checked against its hash, the project itself comes without dependencies."""
    installs = re.findall(
        r"pip [^&]*install [^&]*", " ".join(rest for instruction, rest in steps if instruction == "RUN")
    )
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-index" in install
    assert "--hash=sha256:" in (ROOT / "requirements.txt").read_text("utf-8")


def test_the_image_is_built_in_two_stages_of_one_pinned_python(steps: list[tuple[str, str]]) -> None:
    """Build tools stay behind, and an environment made by one Python is not run by another."""
    arguments = [rest for instruction, rest in steps if instruction == "ARG"]
    assert len(arguments) == 1
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", arguments[0])
    stages = [rest for instruction, rest in steps if instruction == "FROM"]
    assert stages == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    assert not [rest for instruction, rest in last_stage(steps) if instruction == "RUN" and "pip" in rest]


def test_what_the_image_is_built_from_exists_and_is_let_through(steps: list[tuple[str, str]]) -> None:
    """Each file that a step copies is in the project, and .dockerignore does not hold it back."""
    copied = [rest.split()[:-1] for instruction, rest in steps if instruction == "COPY" and "--from=" not in rest]
    sources = {source for names in copied for source in names}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    assert sources == let_through
    assert not [source for source in sources if not (ROOT / source).exists()]


def test_the_build_back_end_is_locked_where_the_image_looks_for_it() -> None:
    """The image takes one entry out of requirements-dev.txt: the back end that pyproject.toml asks for."""
    needed = re.search(
        r'^requires = \["(setuptools==[^"]+)"\]$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    assert needed is not None
    locked = (ROOT / "requirements-dev.txt").read_text("utf-8")
    entry = re.search(
        rf"^{re.escape(needed[1])} \\\n(    --hash=sha256:[0-9a-f]{{64}}( \\)?\n)+    # via", locked, re.MULTILINE
    )
    assert entry is not None


def test_the_image_says_how_to_run_probe_and_stop_it(steps: list[tuple[str, str]]) -> None:
    """Without arguments it is a worker; any other command of the gate can be given instead."""
    said = dict(last_stage(steps))
    assert said["ENTRYPOINT"] == '["withdrawal-gate"]'
    assert said["CMD"] == '["worker"]'
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert said["VOLUME"] == '["/data"]'
    assert "/livez" in said["HEALTHCHECK"]
