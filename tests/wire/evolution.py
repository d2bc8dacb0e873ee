"""Whether a changed schema still fits those who write or read records by the released one.

A producer is closed: it sends the fields of its schema and no others, and keeps to each. A consumer is open: it takes
whatever fields come and reads those that it knows. So of an input everything that the released schema let a publisher
send must still be taken, and of an output nothing may come that the released schema ruled out.

What can't be compared counts as a break: better one release too careful than a withdrawal engine that stops.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

Schema = dict[str, Any]

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "examples", "$comment"}
TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
LOWER_BOUNDS = {"minLength", "minimum", "minItems", "minProperties"}
UPPER_BOUNDS = {"maxLength", "maximum", "maxItems", "maxProperties"}
COMPARED = {"type", "enum", "const", "required", "properties", "additionalProperties", "anyOf"}


def closed(schema: Schema) -> Schema:
    """Return what a producer has to keep to: the schema, and no fields beside its own."""
    return {**schema, "additionalProperties": False}


def breaks_of_input(released: Schema, changed: Schema) -> list[str]:
    """Return what a publisher may send by the released schema that the changed one does not take or know."""
    return _removed(released, changed) + _outside(_plain(released, released), _plain(changed, changed), "record")


def breaks_of_output(released: Schema, changed: Schema) -> list[str]:
    """Return what the gate may send by the changed schema that a reader of the released one does not expect."""
    return _removed(released, changed) + _outside(_plain(changed, changed), _plain(released, released), "record")


def _removed(released: Schema, changed: Schema) -> list[str]:
    return [f"{name}: removed" for name in sorted(released["properties"].keys() - changed["properties"].keys())]


def _plain(node: Any, root: Schema) -> Any:  # noqa: ANN401  (any part of a schema)
    """Return a part of a schema with its references followed, and without what is only said about it."""
    if isinstance(node, list):
        return [_plain(one, root) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = root
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{name: rest for name, rest in node.items() if name != "$ref"}}
    plain: Schema = {}
    for name, rest in node.items():
        if name == "properties":
            plain[name] = {field: _plain(schema, root) for field, schema in rest.items()}
        elif name not in ANNOTATIONS:
            plain[name] = _plain(rest, root)
    return plain


def _outside(sent: Schema, taken: Schema, at: str) -> list[str]:
    """Return why something that keeps to `sent` may not keep to `taken`; nothing when it always does."""
    if sent == taken:
        return []
    found = [f"type {name}" for name in sorted(_types(sent) - _types(taken))]
    found += _values(sent, taken)
    found += [
        f"{name} is not always sent" for name in taken.get("required", []) if name not in sent.get("required", [])
    ]
    found += [name for name in sorted(LOWER_BOUNDS & taken.keys()) if sent.get(name, float("-inf")) < taken[name]]
    found += [name for name in sorted(UPPER_BOUNDS & taken.keys()) if sent.get(name, float("inf")) > taken[name]]
    if taken.get("additionalProperties", True) is not True:
        found.append("unknown fields are refused")
    others = taken.keys() - COMPARED - LOWER_BOUNDS - UPPER_BOUNDS
    found += [f"{name} differs" for name in sorted(others) if sent.get(name) != taken[name]]
    found += _alternatives(sent, taken)
    breaks = [f"{at}: {what}" for what in found]
    fields = sent.get("properties", {})
    for name, inner in taken.get("properties", {}).items():
        breaks += _outside(fields[name], inner, f"{at}.{name}") if name in fields else []
    return breaks


def _types(schema: Schema) -> set[str]:
    named = schema.get("type", TYPES)
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _values(sent: Schema, taken: Schema) -> list[str]:
    """Return the values that are sent and not taken, where either lists them."""
    alone: Schema = {name: taken[name] for name in ("type", "enum", "const") if name in taken}
    listed = [sent["const"]] if "const" in sent else sent.get("enum")
    if listed is not None:
        return [f"value {value!r}" for value in listed if not jsonschema_rs.is_valid(alone, value)]
    return ["values beyond a list"] if alone.keys() & {"enum", "const"} else []


def _alternatives(sent: Schema, taken: Schema) -> list[str]:
    """Return a break when one of the alternatives that are sent fits none that is taken."""
    if "anyOf" not in taken:
        return []
    fits = (any(not _outside(one, other, "") for other in taken["anyOf"]) for one in sent.get("anyOf", [sent]))
    return [] if all(fits) else ["an alternative of anyOf"]
