"""The `gate-signature` header: `v1 <key id> <HMAC-SHA-256 of the decision's value, in hex>`.

A signature says that a holder of the key wrote these bytes. It does not say where or how often they were written: a
decision that was copied still verifies, so readers go by `withdrawal_id` and `valid_until` as well.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURE_HEADER = "gate-signature"
# As long as the digest, so that the key is not its weaker part (RFC 2104, section 3).
MIN_SECRET_BYTES = 32
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[ \t]+((?:[0-9a-fA-F]{2})+)")


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Secrets by key id, in the order of the file: the first signs, all verify."""

    secrets: dict[str, bytes] = field(repr=False)

    def sign(self, value: bytes) -> bytes:
        """Return the header's value for a decision's value."""
        key_id, secret = next(iter(self.secrets.items()))
        return f"v1 {key_id} {hmac.digest(secret, value, 'sha256').hex()}".encode()


def parse_keys(text: str) -> SigningKeys:
    """Read lines of `<key id> <secret in hex>`, `#` comments; ValueError names the line and never a secret."""
    secrets: dict[str, bytes] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or len(found[2]) < 2 * MIN_SECRET_BYTES:
            message = f"line {number} is not a key id and a secret of at least {MIN_SECRET_BYTES} bytes in hex"
            raise ValueError(message)
        if found[1] in secrets:
            message = f"line {number} repeats a key id"
            raise ValueError(message)
        secrets[found[1]] = bytes.fromhex(found[2])
    if not secrets:
        message = "it holds no key"
        raise ValueError(message)
    return SigningKeys(secrets)


def verify_decision(value: bytes, headers: Iterable[tuple[str, bytes | None]], keys: SigningKeys) -> bool:
    """Tell whether the one signature in the headers is of this value, by one of these keys."""
    held = [signature for name, signature in headers if name == SIGNATURE_HEADER]
    if len(held) != 1:
        return False
    version, _, rest = (held[0] or b"").partition(b" ")
    key_id, _, digest = rest.partition(b" ")
    secret = keys.secrets.get(key_id.decode("ascii", "replace"))
    if version != b"v1" or secret is None:
        return False
    return hmac.compare_digest(hmac.digest(secret, value, "sha256").hex().encode(), digest)
