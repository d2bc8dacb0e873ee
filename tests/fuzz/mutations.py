"""Makes records: an example, changed in its fields, in its text or in its bytes, or all three.

A record depends on the seed and its number alone, so that one can be made again without those before it.
"""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from schemas.wire import Fault, parse_object
from tests.fuzz.corpus import DEPTHS, FIELDS, JSON_VALUES, KEYS, LENGTHS, MARKS, STRINGS, UNITS, VALUES

# More records than one run makes, so that no two seeds share a record.
NUMBERS = 2**48


def record(seed: int, number: int) -> tuple[bytes | None, bytes | None]:
    """Return key and value of the record with this number."""
    random = Random(seed * NUMBERS + number)
    value = _value(random)
    return _key(random, value), value


def text(random: Random, found: object = "") -> str:
    """Return nasty text, sometimes with what was found."""
    nasty = random.choice(UNITS) * random.choice(LENGTHS) if random.random() < 0.2 else random.choice(STRINGS)
    way = random.randrange(4)
    if not isinstance(found, str) or way == 0:
        return nasty
    if way == 1:
        return found + nasty
    return nasty + found if way == 2 else found.replace(found[:1], nasty, 1)


def _key(random: Random, value: bytes | None) -> bytes | None:
    way = random.randrange(6)
    if way == 0:
        return None
    if way == 1:
        return text(random).encode()
    if way == 2:
        return random.randbytes(random.randrange(40))
    if way == 3:
        return in_bytes(random, random.choice(KEYS))
    # The one that belongs to the value, so that what lies behind the comparison is reached.
    body = parse_object(value)
    account_id = None if isinstance(body, Fault) else body.get("account_id")
    return account_id.encode() if isinstance(account_id, str) else random.choice(KEYS)


def _value(random: Random) -> bytes | None:
    kind = random.random()
    if kind < 0.02:
        return None if kind < 0.001 else random.randbytes(random.randrange(60))
    if kind < 0.08:
        return b"".join(random.choices((*MARKS, *JSON_VALUES), k=random.randrange(12)))
    value = random.choice(VALUES)
    if kind < 0.8:
        value = in_fields(random, value)
    if random.random() < 0.3:
        value = _in_text(random, value)
    return in_bytes(random, value) if random.random() < 0.3 else value


def in_fields(random: Random, value: bytes) -> bytes:
    """Change fields of an object; the text stays JSON."""
    try:
        body: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    if not isinstance(body, dict):
        return value
    for _ in range(random.randrange(1, 4)):
        # A field of the record's own more often than one from elsewhere.
        name = random.choice(list(body) or [""]) if random.random() < 0.6 else random.choice((*FIELDS, text(random)))
        way = random.randrange(8)
        if way == 0:
            body.pop(name, None)
        elif way == 1:
            body[name] = random.choice((None, True, [], {}, [body.get(name)], {name: body.get(name)}, -1, 0.5, 1e300))
        elif way == 2:
            body[name] = random.randrange(-(2**63), 2**64) >> random.randrange(64)
        elif way == 3:
            body[name] = body.get(random.choice(FIELDS))
        else:
            body[name] = text(random, body.get(name))
    try:
        return orjson.dumps(body)
    except TypeError:  # orjson reads deeper than it writes
        return value


def _in_text(random: Random, value: bytes) -> bytes:
    """Put a field with any text as its value first or last, once more or anew."""
    name = random.choice(FIELDS) if random.random() < 0.7 else "x"
    if random.random() < 0.1:
        depth = random.choice(DEPTHS)
        opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
        inner = opening * depth + b"0" + closing * depth
    else:
        inner = random.choice(JSON_VALUES)
    field = b'"' + name.encode() + b'":' + inner
    if random.random() < 0.5:
        return b"{" + field + b"," + value[1:]
    return value[:-1] + b"," + field + b"}"


def in_bytes(random: Random, value: bytes) -> bytes:
    """Cut, turn over, double, insert or splice bytes."""
    changed = bytearray(value)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(changed) + 1)
        to = at + random.randrange(1, 9)
        way = random.randrange(6)
        if way == 0:
            del changed[at:to]
        elif way == 1:
            changed[at : at + 1] = random.randbytes(1)
        elif way == 2:
            changed[at:at] = changed[at:to] * random.choice((1, 2, 60))
        elif way == 3:
            changed[at:at] = random.choice(MARKS)
        elif way == 4:
            changed[at:to] = random.choice(JSON_VALUES)
        else:
            changed[at:] = random.choice(VALUES)[at:]
    return bytes(changed)
