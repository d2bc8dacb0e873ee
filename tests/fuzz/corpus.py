"""What the mutations are made of: the shared examples, and text and JSON that parsers have stumbled over.

All of it is written here by code; the lists that others keep (of naughty strings, of cases for JSON parsers) are not
copied.
"""

from __future__ import annotations

from schemas.topics import TOPICS
from tests.wire.test_examples import RECORDS, key_of, load, schema_of, value_of

# Sorted: the order of a set is another one in each process, and a record has to be made again in another.
KEYS = tuple(sorted({key for record in RECORDS for case in load(record) if (key := key_of(case)) is not None}))
VALUES = tuple(sorted({value for record in RECORDS for case in load(record) if (value := value_of(case))}))
# Every field that a record of ours has, those of one topic in the others as well.
FIELDS = tuple(sorted({field for record in RECORDS for field in schema_of(record)["properties"]}))

# At, below and above each length that counts: press and withdrawal ids, account ids, ids that are still answered to,
# offsets, and the digits that Python's int and json take at most.
LENGTHS = (0, 1, 19, 20, 127, 128, 129, 255, 256, 257, 308, 309, 1_023, 1_024, 1_025, 4_300, 4_301)
UNITS = ("a", "9", "\0", '"', "\\", "%", "{", "[", "\u00df", "\u0301", "\u4e2d", "\U0001f9ca")
_CHARACTERS = (
    *map(chr, range(0x20)),
    *(chr(code) for code in (0x7F, 0x80, 0x85, 0xA0, 0xAD, 0x200B, 0x200D, 0x202E, 0x2028, 0x2029, 0x2066, 0xFEFF)),
    *(chr(code) for code in (0xD7FF, 0xE000, 0xFDD0, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFF, 0x10FFFF)),
    *("\u0660", "\u00b2", "\u2167", "\u0130", "\u0131", "\u017f", "\u1e9e", "\ufb01", "\u212a"),
)
_WORDS = r"""
null true NaN -Infinity undefined None 0 -0 1e5 0x10 1_000 %s %b %w %n%n %(x)s {0} {} ${x} {{x*3}} $(x) `x` ../..
__proto__ constructor approved rejected <b> acc-42 w-1 p-7 2026-11-22T09:00:00.000Z 2026-02-30T00:00:00Z
0001-01-01T00:00:00+23:59 9999-12-31T23:59:60Z
"""
STRINGS = (
    *_CHARACTERS,
    *_WORDS.split(),
    *("\u0661\u0662", " 1", "a\r\nb: c", "' OR 1=1", "e\u0301", "\u00e9", "\x1b[31m"),
    *(f"{topic.name}:{place}" for topic in TOPICS for place in ("3:1042", "3:", ":", "-1:7", "3:1042:0")),
)

# Text in the place of a JSON value: numbers at every edge, escapes, and what is no JSON although some readers take it.
_INTEGERS = (0, 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**308, 10**309)
_TEXTS = rb"""
-0 -0.0 1.0 0.1 1e5 1E+5 1e-400 1e308 1e309 5e-324 90.0 00 +1 .5 1. 1e --1 0x1 1_0 NaN Infinity -Infinity nul True
null true false [] {} [null] {"":{}} "" '' /**/1 1// 1, ,1 [1,] {"a":1,} {a:1} [1} {"a"} {"a":1,"a":2} "
"\u0000" "\ud800" "\udc00\ud800" "\ud83e\uddca" "\u00" "\x41" "\/" "\a"
"""
JSON_VALUES = (
    *(f"{sign}{number}".encode() for number in _INTEGERS for sign in ("", "-")),
    *(b"0." + b"3" * 5_000, b"9" * 4_300, b"9" * 4_301),
    *_TEXTS.split(),
    *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x80\xa8"'),
    *(b'"\t"', b'"\n"', b'"\0"', b"[1 2]"),
)
MARKS = (b"\xef\xbb\xbf", b"\xff", b"\0", b"\n", b" ", *(bytes([mark]) for mark in b'{}[]:,"\\-.e'))
# Around the depth that decisions repeat, and those at which readers give up: Python's json, Jackson, orjson.
DEPTHS = (1, 2, 98, 99, 100, 101, 254, 255, 900, 989, 1_000, 1_022, 1_023, 1_024, 1_025, 5_000)
