"""docs/security.md, its table of roles held against the one declaration."""

from __future__ import annotations

from pathlib import Path

from deploy.kafka_access import Role, roles

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def row(role: Role) -> str:
    """Return the beginning of a role's line: all but what a thief could do."""
    rights: dict[tuple[str, str], list[str]] = {}
    for right in role.rights:
        operations = ", ".join(operation.lower().replace("_", " ") for operation in right.operations)
        kind = "transactional id" if right.kind == "transactionalId" else right.kind
        rights.setdefault((operations, kind), []).append(f"`{right.name}{'…' if right.prefixed else ''}`")
    parts = [
        f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}: {what}" for (what, kind), names in rights.items()
    ]
    said = "; ".join(parts)
    return f"| `{role.name}` | {role.does} | {said} | "


def test_the_roles_of_the_page_are_those_of_the_code() -> None:
    """Each with its rights, in their order, and with what somebody could do who stole its password."""
    lines = PAGE.splitlines()
    start = lines.index("|---|---|---|---|") + 1
    table = lines[start : start + len(roles())]
    for line, role in zip(table, roles(), strict=True):
        assert line.startswith(row(role)), f"needed: {row(role)}"
        assert len(line) > len(row(role)) + 2
    assert lines[start + len(roles())] == ""


def test_the_readme_names_the_rights_of_a_drill() -> None:
    """Those of the declaration, and no others; that they are enough is tried in tests/broker/test_secured.py."""
    (drill,) = (role for role in roles() if role.does == "`drill`")
    write, read, group = (
        [right.name for right in drill.rights if (right.kind, right.operations) == (kind, (operation,))]
        for kind, operation in (("topic", "WRITE"), ("topic", "READ"), ("group", "DESCRIBE"))
    )
    assert len(write) + len(read) + len(group) == len(drill.rights)
    assert group == ["withdrawal-gate-drill"]
    said = f"to write {named(write)}, to read {named(read)} and to describe the group `<GATE_GROUP>-drill`."
    assert f"Its principal needs {said}" in (ROOT / "README.md").read_text("utf-8")


def named(topics: list[str]) -> str:
    """Return the topics' names as a sentence has them."""
    return " and ".join(f"`{topic}`" for topic in topics)
