"""deploy/kubernetes: valid by Kubernetes's own schemas, and held against the code, the image and the alerts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from deploy import kafka_access, prometheus_rule
from deploy.kafka_topics import REPLICAS, manifests
from schemas import withdrawal_request
from schemas.topics import DEFAULT_PARTITIONS, MIN_INSYNC_REPLICAS, TOPICS, WITHDRAWAL_DECISION_SHADOW
from streams.app import EXIT_SECONDS
from streams.cli import main
from streams.rule import BUILT_IN_POLICY
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.37"
# Kinds of operators, whose schemas no package here carries: their own tests below look at what the gate rests on.
OF_OPERATORS = {
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "TriggerAuthentication",
    "KafkaTopic",
    "KafkaUser",
    "Kustomization",
}
FILES = sorted(KUBERNETES.glob("*.yaml"))


def documents(name: str) -> list[dict[str, Any]]:
    """Return the documents of a file."""
    return [found for found in yaml.safe_load_all((KUBERNETES / name).read_text("utf-8")) if found]


def one(name: str, kind: str) -> dict[str, Any]:
    """Return the one document of that kind."""
    (found,) = (document for document in documents(name) if document["kind"] == kind)
    return found


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Return the template of each kind of Pod, with the name of its workload."""
    workloads = [one("workers.yaml", "StatefulSet"), one("drill.yaml", "Deployment")]
    return [(workload["metadata"]["name"], workload["spec"]["template"]) for workload in workloads]


def settings() -> dict[str, str]:
    """Return what settings.env sets."""
    lines = (KUBERNETES / "settings.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_resource_is_valid_by_the_schema_of_its_kind(path: Path) -> None:
    """Strictly: a misspelt field would be dropped by the server without a word."""
    for document in documents(path.name):
        assert document["apiVersion"]
        if document["kind"] not in OF_OPERATORS:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_misspelt_field_is_found() -> None:
    """The schemas are strict, so that the test above can fail."""
    document = one("workers.yaml", "StatefulSet")
    document["spec"]["template"]["spec"]["terminationGracePeriod"] = 20
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_kustomize_applies_every_file_but_the_optional_ones() -> None:
    """A file that nothing names is applied by nobody."""
    (kustomization,) = documents("kustomization.yaml")
    optional = {"kustomization.yaml", "kafka-topics.yaml", "kafka-users.yaml", "scaled-object.yaml"}
    assert {*kustomization["resources"], *optional} == {path.name for path in FILES}
    generated = [
        name for made in kustomization["configMapGenerator"] for name in (*made.get("envs", []), *made.get("files", []))
    ]
    assert all((KUBERNETES / name).is_file() for name in generated)
    images = {image["name"] for image in kustomization["images"]}
    assert {container["image"] for _, pod in pods() for container in pod["spec"]["containers"]} == images


def test_the_topics_are_those_of_the_code() -> None:
    """Made by the command, unchanged; what it makes is every topic with its whole configuration."""
    text = (KUBERNETES / "kafka-topics.yaml").read_text("utf-8")
    assert text == manifests(), "run: python -m deploy.kafka_topics > deploy/kubernetes/kafka-topics.yaml"
    made = {document["metadata"]["name"]: document["spec"] for document in documents("kafka-topics.yaml")}
    in_sync = {"min.insync.replicas": str(MIN_INSYNC_REPLICAS)}
    assert made == {
        topic.name: {"partitions": DEFAULT_PARTITIONS, "replicas": REPLICAS, "config": {**topic.config, **in_sync}}
        for topic in TOPICS
    }


def test_the_users_are_the_roles_of_the_code() -> None:
    """Made by the command, unchanged; what Strimzi reads is every role with all of its rights, and no more."""
    text = (KUBERNETES / "kafka-users.yaml").read_text("utf-8")
    made = "python -m deploy.kafka_access users > deploy/kubernetes/kafka-users.yaml"
    assert text == kafka_access.manifests(), f"run: {made}"
    users = {document["metadata"]["name"]: document["spec"] for document in documents("kafka-users.yaml")}
    assert list(users) == [role.name for role in kafka_access.roles()]
    for role in kafka_access.roles():
        assert users[role.name]["authentication"] == {"type": "scram-sha-512"}
        assert users[role.name]["authorization"]["type"] == "simple"
        found = {
            (acl["resource"]["type"], acl["resource"]["name"], acl["resource"]["patternType"], operation.upper())
            for acl in users[role.name]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        declared = {
            (right.kind, right.name, "prefix" if right.prefixed else "literal", operation.replace("_", ""))
            for right in role.rights
            for operation in right.operations
        }
        assert found == declared
    assert {name for name, _ in pods()} <= users.keys()


def test_each_topic_is_written_and_read_by_whom_the_topics_name() -> None:
    """The decisions, the statuses and the dead letters by the gate alone; what decides nothing by its shadow alone."""

    def who(name: str, operation: str) -> set[str]:
        return {
            role.name
            for role in kafka_access.roles()
            for right in role.rights
            if right.name == name and operation in right.operations
        }

    gate, drill = (name for name, _ in pods())
    shadow = f"{gate}-shadow"
    writers = {"upstream app": {"upstream-app", drill}, "wallet service": {"wallet-service", drill}, "gate": {gate}}
    writers["gate in shadow mode"] = {shadow}
    for topic in (*TOPICS, WITHDRAWAL_DECISION_SHADOW):
        assert who(topic.name, "WRITE") == writers[topic.written_by], topic.name
    for group in (kafka_access.GROUP, f"{kafka_access.GROUP}-announce"):
        assert who(group, "READ") == {gate}
    assert who(f"{kafka_access.GROUP}-shadow", "READ") == {shadow}
    transactional = {
        (role.name, right.name)
        for role in kafka_access.roles()
        for right in role.rights
        if right.kind == "transactionalId"
    }
    assert transactional == {
        (gate, "withdrawal-gate-withdrawal-request-"),
        (gate, "withdrawal-gate-announce-panic-button-"),
        (shadow, "withdrawal-gate-shadow-withdrawal-request-"),
    }


def test_the_alerts_are_those_of_prometheus() -> None:
    """Made by the command, unchanged; what the operator reads is every group, with every rule as it is tested."""
    text = (KUBERNETES / "prometheus-rule.yaml").read_text("utf-8")
    made = "python -m deploy.prometheus_rule > deploy/kubernetes/prometheus-rule.yaml"
    assert text == prometheus_rule.manifest(), f"run: {made}"
    alerts = yaml.safe_load(prometheus_rule.ALERTS.read_text("utf-8"))
    assert one("prometheus-rule.yaml", "PrometheusRule")["spec"] == alerts


def test_the_settings_exist_and_the_policy_is_the_built_in_one() -> None:
    """Names are those of the code, and files lie where they are mounted."""
    named = settings()
    policy = Settings.from_environment({"GATE_POLICY": str(KUBERNETES / "policy.json")}).policy
    assert policy == BUILT_IN_POLICY
    paths = {name: named.pop(name) for name in ("GATE_POLICY", "GATE_KAFKA_OPTIONS")}
    Settings.from_environment(named)
    for _, pod in pods():
        (container,) = pod["spec"]["containers"]
        mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert all(mounted[str(Path(path).parent)]["readOnly"] for path in paths.values())
        assert {mount["name"] for mount in mounted.values()} >= {volume["name"] for volume in pod["spec"]["volumes"]}


def test_no_pod_can_do_more_than_it_needs() -> None:
    """The image's user, no root file system to write to, no capability, no token, no privileges to gain."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    (user,) = re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)
    assert one("service-account.yaml", "ServiceAccount")["automountServiceAccountToken"] is False
    for name, pod in pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert {spec["securityContext"][who] for who in ("runAsUser", "runAsGroup", "fsGroup")} == {int(user)}
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        secrets = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
        assert secrets == [f"{name}-kafka"]


def test_nothing_restarts_a_worker_because_it_is_not_ready() -> None:
    """A restart begins the wait for Kafka or for the table anew, and moves partitions."""
    (container,) = pods()[0][1]["spec"]["containers"]
    probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_a_worker_may_drain_and_a_roll_back_does_not_wait_for_a_pod_that_hangs() -> None:
    """Time beyond the drain, replacement one by one, and no order that a Pod without readiness could hold up."""
    stateful = one("workers.yaml", "StatefulSet")["spec"]
    assert stateful["template"]["spec"]["terminationGracePeriodSeconds"] > EXIT_SECONDS
    assert (stateful["podManagementPolicy"], stateful["updateStrategy"]) == ("Parallel", {"type": "RollingUpdate"})
    budget = one("workers.yaml", "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_each_worker_has_a_volume_of_its_own_where_the_image_keeps_its_data() -> None:
    """A RocksDB folder has one owner."""
    stateful = one("workers.yaml", "StatefulSet")["spec"]
    (claim,) = stateful["volumeClaimTemplates"]
    (container,) = stateful["template"]["spec"]["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"GATE_DATA_DIR={paths[claim['metadata']['name']]} " in (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def test_selectors_find_the_pods() -> None:
    """Of the workloads, the service, the budget, the network policy and the monitor."""
    for name, pod in pods():
        labels = pod["metadata"]["labels"]
        assert labels == {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "withdrawal-gate"}
    worker = {"app.kubernetes.io/name": "withdrawal-gate"}
    everything = {"app.kubernetes.io/part-of": "withdrawal-gate"}
    stateful = one("workers.yaml", "StatefulSet")["spec"]
    assert stateful["selector"]["matchLabels"] == worker
    assert one("drill.yaml", "Deployment")["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": pods()[1][0]
    }
    assert one("workers.yaml", "Service")["spec"]["selector"] == worker
    assert one("workers.yaml", "Service")["metadata"]["name"] == stateful["serviceName"]
    assert one("workers.yaml", "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == worker
    assert one("network-policy.yaml", "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == everything
    assert one("pod-monitor.yaml", "PodMonitor")["spec"]["selector"]["matchLabels"] == everything
    spreads = stateful["template"]["spec"]["topologySpreadConstraints"]
    assert all(spread["labelSelector"]["matchLabels"] == worker for spread in spreads)


def test_ports_and_commands_are_those_of_image_and_program() -> None:
    """Where a process listens is what the monitor scrapes and the network policy lets through."""
    for _, pod in pods():
        (container,) = pod["spec"]["containers"]
        (port,) = container["ports"]
        assert port["name"] == "http"
        assert container["args"][0] in main.commands
        listens = [argument for argument in container["args"] if re.fullmatch(r"[\d.]+:\d+", argument)]
        image = re.findall(r"GATE_HTTP=(\S+)", (ROOT / "deploy" / "Dockerfile").read_text("utf-8"))
        assert (listens or image)[0] == f"0.0.0.0:{port['containerPort']}"
    (endpoint,) = one("pod-monitor.yaml", "PodMonitor")["spec"]["podMetricsEndpoints"]
    (rule,) = one("network-policy.yaml", "NetworkPolicy")["spec"]["ingress"]
    assert endpoint["port"] == rule["ports"][0]["port"] == "http"
    kafka = {int(server.rpartition(":")[2]) for server in settings()["GATE_KAFKA_BOOTSTRAP"].split(",")}
    assert {
        port["port"] for port in one("network-policy.yaml", "NetworkPolicy")["spec"]["egress"][-1]["ports"]
    } == kafka


def test_the_jobs_of_the_monitor_are_those_of_prometheus_and_of_the_alerts() -> None:
    """An alert that names a job matches nothing under another name."""
    monitor = one("pod-monitor.yaml", "PodMonitor")["spec"]
    jobs = [pod["metadata"]["labels"][monitor["jobLabel"]] for _, pod in pods()]
    prometheus = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text("utf-8"))
    assert jobs == [job["job_name"] for job in prometheus["scrape_configs"]]
    assert monitor["podMetricsEndpoints"][0]["interval"] == prometheus["global"]["scrape_interval"]


def test_workers_are_never_scaled_to_zero_nor_beyond_the_partitions() -> None:
    """By the lag of the group and topic that the settings name, at the brokers that they name."""
    scaled = one("scaled-object.yaml", "ScaledObject")["spec"]
    stateful = one("workers.yaml", "StatefulSet")
    assert scaled["scaleTargetRef"] == {
        "apiVersion": stateful["apiVersion"],
        "kind": stateful["kind"],
        "name": stateful["metadata"]["name"],
    }
    assert (
        2 <= stateful["spec"]["replicas"] <= scaled["minReplicaCount"] < scaled["maxReplicaCount"] <= DEFAULT_PARTITIONS
    )
    assert "idleReplicaCount" not in scaled
    (trigger,) = scaled["triggers"]
    asked = trigger["metadata"]
    assert asked["topic"] == withdrawal_request.TOPIC
    assert (asked["consumerGroup"], asked["bootstrapServers"]) == (
        settings()["GATE_GROUP"],
        settings()["GATE_KAFKA_BOOTSTRAP"],
    )


def test_the_scaler_asks_the_brokers_as_somebody_of_its_own() -> None:
    """Over TLS, with a password out of a Secret that no Pod of the gate mounts."""
    (trigger,) = one("scaled-object.yaml", "ScaledObject")["spec"]["triggers"]
    assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == ("scram_sha512", "enable")
    authentication = one("scaled-object.yaml", "TriggerAuthentication")
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    references = authentication["spec"]["secretTargetRef"]
    assert [reference["parameter"] for reference in references] == ["username", "password", "ca"]
    (secret,) = {reference["name"] for reference in references}
    assert secret not in {f"{name}-kafka" for name, _ in pods()}
