"""Who may do what on Kafka: each role with its rights, once. Brokers have to refuse what no ACL allows.

python -m deploy.kafka_access users > deploy/kubernetes/kafka-users.yaml    Strimzi's KafkaUser resources
python -m deploy.kafka_access apply --bootstrap kafka:9093 --options admin.properties    the same as ACLs
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.kafka_topics import CLUSTER
from schemas.topics import (
    DEAD_LETTER,
    FREEZE_STATUS,
    PANIC_BUTTON,
    TOPICS,
    WITHDRAWAL_DECISION,
    WITHDRAWAL_DECISION_SHADOW,
    WITHDRAWAL_REQUEST,
)

GROUP = "withdrawal-gate"
REQUEST_SECONDS = 15.0
# READ and WRITE include the right to describe.
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = "READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"
KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactionalId": ResourceType.TRANSACTIONAL_ID}
HEAD = f"""\
# Made by `python -m deploy.kafka_access users` from deploy/kafka_access.py; change it there. `strimzi.io/cluster` is
# the name of your Kafka resource, in whose namespace these belong; it needs `authorization: {{type: simple}}` and a
# listener with `authentication: {{type: scram-sha-512}}` over TLS. Strimzi puts each password into a Secret.
# Nobody but `{GROUP}` may write decisions: what an engine obeys is what this right protects.
"""


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one resource, or with `prefixed` on all whose names begin so."""

    kind: str
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody with credentials of its own; `name` is the Kafka user, `does` what it needs its rights for."""

    name: str
    does: str
    rights: tuple[Right, ...]


def roles(prefix: str = "", group: str = GROUP) -> tuple[Role, ...]:
    """Return every role, for a GATE_TOPIC_PREFIX and a GATE_GROUP."""

    def topic(name: str, *operations: str) -> Right:
        return Right("topic", prefix + name, operations)

    def member(name: str) -> Right:
        return Right("group", name, (READ,))

    def reader(name: str) -> Right:
        # Its clients name this group, and must neither join it nor commit for it.
        return Right("group", f"{group}-{name}", (DESCRIBE,))

    def transactions(of_group: str, of_topic: str) -> Right:
        return Right("transactionalId", f"{of_group}-{prefix}{of_topic}-", (WRITE,), prefixed=True)

    announce = f"{group}-announce"
    shadow = f"{group}-shadow"
    everything = tuple(topic(one.name, READ, DESCRIBE_CONFIGS) for one in (*TOPICS, WITHDRAWAL_DECISION_SHADOW))
    return (
        Role(
            "withdrawal-gate",
            "runs the workers",
            (
                topic(PANIC_BUTTON.name, READ, DESCRIBE_CONFIGS),
                topic(WITHDRAWAL_REQUEST.name, READ, DESCRIBE_CONFIGS),
                topic(WITHDRAWAL_DECISION.name, READ, WRITE, DESCRIBE_CONFIGS),
                topic(FREEZE_STATUS.name, READ, WRITE, DESCRIBE_CONFIGS),
                topic(DEAD_LETTER.name, READ, WRITE, DESCRIBE_CONFIGS),
                member(group),
                member(announce),
                reader("follow"),
                reader("tail"),
                transactions(group, WITHDRAWAL_REQUEST.name),
                transactions(announce, PANIC_BUTTON.name),
            ),
        ),
        Role(
            "withdrawal-gate-shadow",
            "runs the workers of a shadow (`GATE_SHADOW`)",
            (
                topic(PANIC_BUTTON.name, READ, DESCRIBE_CONFIGS),
                topic(WITHDRAWAL_REQUEST.name, READ, DESCRIBE_CONFIGS),
                topic(WITHDRAWAL_DECISION_SHADOW.name, READ, WRITE, DESCRIBE_CONFIGS),
                member(shadow),
                reader("shadow-follow"),
                reader("shadow-tail"),
                transactions(shadow, WITHDRAWAL_REQUEST.name),
            ),
        ),
        Role(
            "upstream-app",
            "presses, and shows freezes",
            (topic(PANIC_BUTTON.name, WRITE), topic(FREEZE_STATUS.name, READ), member(f"{prefix}upstream-app")),
        ),
        Role("wallet-service", "asks for withdrawals", (topic(WITHDRAWAL_REQUEST.name, WRITE),)),
        Role(
            "withdrawal-engine",
            "lets approved withdrawals out",
            (topic(WITHDRAWAL_DECISION.name, READ), member(f"{prefix}withdrawal-engine")),
        ),
        Role(
            "support",
            "`status`, and reads freezes",
            (
                topic(PANIC_BUTTON.name, READ),
                topic(FREEZE_STATUS.name, READ),
                member(f"{prefix}support"),
                reader("read"),
            ),
        ),
        Role("on-call", "reads dead letters", (topic(DEAD_LETTER.name, READ), member(f"{prefix}on-call"))),
        Role("auditor", "`audit`, `evidence`, `report`, `watch`", (*everything, reader("read"), reader("watch"))),
        Role(
            "withdrawal-gate-drill",
            "`drill`",
            (
                topic(PANIC_BUTTON.name, WRITE),
                topic(WITHDRAWAL_REQUEST.name, WRITE),
                topic(WITHDRAWAL_DECISION.name, READ),
                topic(WITHDRAWAL_DECISION_SHADOW.name, READ),
                reader("drill"),
            ),
        ),
    )


# Strimzi


def manifest(role: Role) -> str:
    """Return a role as one YAML document."""
    acls = "".join(
        f"      - resource: {{type: {right.kind}, name: {right.name}, patternType: {pattern}}}\n"
        f"        operations: [{', '.join(map(_strimzi, right.operations))}]\n"
        for right in role.rights
        for pattern in ("prefix" if right.prefixed else "literal",)
    )
    return f"""\
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: {role.name}
  labels:
    strimzi.io/cluster: {CLUSTER}
spec:
  authentication:
    type: scram-sha-512
  authorization:
    type: simple
    acls:
{acls}"""


def manifests() -> str:
    """Return the whole file."""
    return HEAD + "".join(map(manifest, roles()))


def _strimzi(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


# ACLs


def bindings(declared: tuple[Role, ...]) -> list[AclBinding]:
    """Return the roles' rights as Kafka's ACLs, for users named after the roles."""
    return [
        AclBinding(
            KINDS[right.kind],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            f"User:{role.name}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for role in declared
        for right in role.rights
        for operation in right.operations
    ]


def apply_to(client: AdminClient, declared: tuple[Role, ...]) -> list[AclBinding]:
    """Make the ACLs that are missing, and return those that allow more on the same resources; raise KafkaException."""
    wanted = bindings(declared)
    for made in client.create_acls(wanted, request_timeout=REQUEST_SECONDS).values():
        made.result()
    found: set[AclBinding] = set()
    for kind, name in {(KINDS[right.kind], right.name) for role in declared for right in role.rights}:
        # MATCH: also those of a prefix, and of every name.
        match, allow = ResourcePatternType.MATCH, AclPermissionType.ALLOW
        # None for every principal and host, which the client's types forget.
        asked = AclBindingFilter(kind, name, match, None, None, AclOperation.ANY, allow)  # type: ignore[arg-type]
        found |= set(client.describe_acls(asked, request_timeout=REQUEST_SECONDS).result())
    return sorted(found - set(wanted))


def _options(path: Path | None) -> dict[str, str]:
    lines = [] if path is None else [line.strip() for line in path.read_text("utf-8").splitlines()]
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#!"]
    return {name.strip(): value.strip() for name, _, value in pairs}


@click.group()
def main() -> None:
    """Say, or apply, who may do what on Kafka."""


@main.command()
def users() -> None:
    """Print the KafkaUser resources."""
    click.echo(manifests(), nl=False)


@main.command("apply")
@click.option("--bootstrap", required=True, metavar="HOST:PORT", help="The brokers.")
@click.option("--options", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="librdkafka's, a file.")
@click.option("--prefix", default="", help="GATE_TOPIC_PREFIX, if there is one.")
@click.option("--group", default=GROUP, show_default=True, help="GATE_GROUP.")
def apply_command(bootstrap: str, options: Path | None, prefix: str, group: str) -> None:
    """Give each role its rights, and print every ACL that allows more on the same topics, groups and transactions.

    The users are named after the roles; their passwords are made apart. Nothing is taken away.

    \b
    Exit codes:  0 these rights and no others   1 somebody has more: the lines say who
                 2 wrong usage                  3 Kafka not reachable, or it refused
    """  # noqa: D301  (click reads the backspace character as "keep these lines as they are")
    client = AdminClient({"log_level": 0, **_options(options), "bootstrap.servers": bootstrap})
    try:
        more = apply_to(client, roles(prefix, group))
    except KafkaException as exception:
        click.echo(f"Kafka: {exception.args[0].str()}", err=True)
        sys.exit(3)
    for one in more:
        operation, kind = AclOperation(one.operation).name, ResourceType(one.restype).name
        pattern = ResourcePatternType(one.resource_pattern_type).name
        click.echo(json.dumps({"user": one.principal, "may": operation, "on": kind, pattern: one.name}))
    sys.exit(1 if more else 0)


if __name__ == "__main__":
    main()
