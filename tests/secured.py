"""A broker that lets nobody in without a password, over TLS, and lets nobody do what no ACL allows."""

from __future__ import annotations

import ipaddress
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.kafka_access import roles
from streams.dev_broker import HOST, DevBroker

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

ADMIN = "admin"
# Kafka's least.
SCRAM_ITERATIONS = 4096
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"
# The controller's listener takes the broker's own certificate only; the clients' one takes SCRAM over TLS.
SECURED = """\
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=CLIENTS
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={login} username="{admin}" password="{password}";
listener.name.controller.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={certificate}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{admin};User:CN=broker
"""


class SecuredBroker(DevBroker):
    """A broker with SASL/SCRAM-SHA-512 over TLS, its own certificate, and a user for each role."""

    def __init__(self, data_dir: Path) -> None:
        """Make the certificate and the administrator's password."""
        super().__init__(data_dir)
        self.data_dir.mkdir(parents=True)
        self.certificate = self.data_dir / "certificate.pem"
        self._keystore = self.data_dir / "keystore.pem"
        self._make_certificate()
        self.passwords = {ADMIN: secrets.token_hex(16)}

    def options(self, user: str, password: str | None = None) -> dict[str, str]:
        """Return what a client of that user needs."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.certificate),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self.passwords[user] if password is None else password,
        }

    def client(self, user: str = ADMIN) -> AdminClient:
        """Return a client of that user for questions to the broker."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **self.options(user)})

    def make_users(self) -> None:
        """Give each role a password of its own."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
        for role in roles():
            self.passwords[role.name] = secrets.token_hex(16)
        client = self.client()
        for role in roles():
            made = UserScramCredentialUpsertion(role.name, info, self.passwords[role.name].encode())
            client.alter_user_scram_credentials([made])[role.name].result()

    def _make_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.certificate.write_bytes(certificate)
        self._keystore.write_bytes(key.private_bytes(*plain) + certificate)

    def _take_ports(self) -> None:
        super()._take_ports()
        path = self.data_dir / "server.properties"
        secured = SECURED.format(
            login=LOGIN,
            admin=ADMIN,
            password=self.passwords[ADMIN],
            keystore=self._keystore,
            certificate=self.certificate,
        )
        # Of two lines with one name the later one counts.
        path.write_text(path.read_text("utf-8").replace("=PLAINTEXT://", "=CLIENTS://") + secured, "utf-8")

    def _spawn(self, classpath: str, lock: int, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Let the administrator be there from the first start on."""
        if "format" in arguments:
            arguments += ("--add-scram", f"SCRAM-SHA-512=[name={ADMIN},password={self.passwords[ADMIN]}]")
        return super()._spawn(classpath, lock, main_class, *arguments)

    def _wait_for_answer(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            assert self._running().poll() is None, self.log_tail(40)
            try:
                self.client().list_topics(timeout=2)
            except KafkaException:
                continue
            return
        raise AssertionError(self.log_tail(40))
