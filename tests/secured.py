"""A broker that lets nobody in without a password, over TLS, and lets nobody do what no ACL allows."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from deploy.kafka_access import roles
from streams.dev_broker import HOST, DevBroker
from tests.certificates import Authority
from tests.processes import free_port

if TYPE_CHECKING:
    from tests.deployment import Deployment

ADMIN = "admin"
# Kafka's least.
SCRAM_ITERATIONS = 4096
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"
# The clients' listener takes SCRAM over TLS, and so does one whose certificate has expired. The controller's takes
# certificates, and so does one for clients that have one; by the super users, that of the broker can do everything.
SECURED = """\
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SSL,EXPIRED:SASL_SSL,MUTUAL:SSL
inter.broker.listener.name=CLIENTS
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={login} username="{admin}" password="{password}";
listener.name.expired.scram-sha-512.sasl.jaas.config={login} username="{admin}" password="{password}";
listener.name.controller.ssl.client.auth=required
listener.name.mutual.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
listener.name.expired.ssl.keystore.location={expired}
ssl.truststore.type=PEM
ssl.truststore.location={trusted}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{admin};User:CN=broker
"""


class SecuredBroker(DevBroker):
    """A broker with SASL/SCRAM-SHA-512 over TLS, certificates of an authority of its own, and a user for each role."""

    def __init__(self, data_dir: Path) -> None:
        """Make the certificates and the administrator's password."""
        super().__init__(data_dir)
        self.data_dir.mkdir(parents=True)
        self.authority = Authority(self.data_dir / "authority.pem")
        self.keystore = self.authority.issue(self.data_dir / "keystore.pem", "broker")
        self._expired = self.authority.issue(self.data_dir / "expired.pem", "broker", expired=True)
        # Where its certificate has expired, and where clients show one of their own instead of a password.
        self.expired, self.mutual = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
        self.passwords = {ADMIN: secrets.token_hex(16)}

    def options(self, user: str, password: str | None = None) -> dict[str, str]:
        """Return what a client of that user needs."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority.path),
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

    def _take_ports(self) -> None:
        super()._take_ports()
        path = self.data_dir / "server.properties"
        secured = SECURED.format(
            login=LOGIN,
            admin=ADMIN,
            password=self.passwords[ADMIN],
            keystore=self.keystore,
            expired=self._expired,
            trusted=self.authority.path,
        )
        listeners = f"=EXPIRED://{self.expired},MUTUAL://{self.mutual},CLIENTS://"
        # Of two lines with one name the later one counts.
        path.write_text(path.read_text("utf-8").replace("=PLAINTEXT://", listeners) + secured, "utf-8")

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


@dataclass
class Secured:
    """A deployment whose clients each come as one user."""

    broker: SecuredBroker
    gate: Deployment

    def as_user(self, user: str) -> str:
        """Return the path of the options with which a command or a worker comes as that user."""
        return self.written(user, self.broker.options(user))

    def written(self, name: str, options: dict[str, str]) -> str:
        """Write a file of options and return its path."""
        path = self.gate.folder / f"{name}.properties"
        path.write_text("".join(f"{option}={value}\n" for option, value in options.items()))
        return str(path)

    def client_options(self, user: str) -> dict[str, Any]:
        """Return what any client of that user needs."""
        return {"bootstrap.servers": self.broker.bootstrap, "log_level": 0, **self.broker.options(user)}

    def tell(self, user: str, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        """Run a command as that user; return exit code, what it printed and its complaints."""
        done = self.gate.command(*arguments, GATE_KAFKA_OPTIONS=self.as_user(user))
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    def apply(self) -> subprocess.CompletedProcess[str]:
        """Run the command that gives the roles their rights, as the administrator."""
        where = ["--bootstrap", self.broker.bootstrap, "--options", self.as_user(ADMIN)]
        names = ["--prefix", self.gate.prefix, "--group", self.gate.name]
        return subprocess.run(
            [sys.executable, "-m", "deploy.kafka_access", "apply", *where, *names],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parents[1],
        )
