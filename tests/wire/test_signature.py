"""Signed decisions: what verifies, what doesn't, and which key files are refused."""

from __future__ import annotations

import pytest

from schemas.signature import SIGNATURE_HEADER, parse_keys, verify_decision

OLD = "old " + "0a" * 32
NEW = "new " + "0b" * 32
VALUE = b'{"status":"approved"}'


def test_a_signed_decision_verifies_through_a_rotation() -> None:
    """The first key signs; readers that hold both take what either signed."""
    both = parse_keys(f"# rotated\n{NEW}\n{OLD}\n")
    for signer in (parse_keys(OLD), both):
        assert verify_decision(VALUE, [("traceparent", b"x"), (SIGNATURE_HEADER, signer.sign(VALUE))], both)
    assert both.sign(VALUE).startswith(b"v1 new ")


def test_forged_altered_and_unsigned_decisions_are_refused() -> None:
    """Another value, secret, key id or version, no signature, two of them: none passes."""
    keys = parse_keys(OLD)
    good = keys.sign(VALUE)
    assert not verify_decision(VALUE + b" ", [(SIGNATURE_HEADER, good)], keys)
    assert not verify_decision(VALUE, [], keys)
    assert not verify_decision(VALUE, [(SIGNATURE_HEADER, good)] * 2, keys)
    forged = parse_keys("old " + "0c" * 32).sign(VALUE)
    for bad in (None, b"", b"v1", b"v1 old ", b"v1 \xff x", forged, parse_keys(NEW).sign(VALUE), b"v2" + good[2:]):
        assert not verify_decision(VALUE, [(SIGNATURE_HEADER, bad)], keys)


@pytest.mark.parametrize("text", ["", "# none", "old", "old 0a", "old " + "zz" * 32, f"{OLD}\n{OLD}"])
def test_a_bad_key_file_is_refused_without_its_secret(text: str) -> None:
    """The message names the line, never what stands in it."""
    with pytest.raises(ValueError, match=r"line \d|no key") as caught:
        parse_keys(text)
    assert "0a" not in str(caught.value)
    assert "zz" not in str(caught.value)
