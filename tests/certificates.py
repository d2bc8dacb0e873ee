"""An authority that issues certificates for a test: sound ones, and ones whose time is over."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.dev_broker import HOST

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)
PLAIN_KEY = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Authority:
    """A key that signs certificates, and its own certificate in `path`, which whoever trusts it needs."""

    def __init__(self, path: Path) -> None:
        """Make both."""
        self.path = path
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(path.stem)
        now = datetime.now(UTC)
        path.write_bytes(self._signed(self._name, self._key.public_key(), now - DAY, now + DAY, authority=True))

    def issue(self, path: Path, name: str, *, expired: bool = False) -> Path:
        """Write a new key and its certificate for a broker or a client, both as PEM; return the path."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + (timedelta(hours=-1) if expired else DAY)
        certificate = self._signed(_named(name), key.public_key(), end - 2 * DAY, end, authority=False)
        path.write_bytes(key.private_bytes(*PLAIN_KEY) + certificate)
        return path

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, since: datetime, until: datetime, *, authority: bool
    ) -> bytes:
        return (
            x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
