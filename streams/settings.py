"""The settings of the contract, from the environment. Each field says its name there, its default and its meaning."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas import withdrawal_decision
from schemas.signature import SigningKeys, parse_keys
from schemas.topics import SHADOW_NEEDS, TOPICS, Topic
from schemas.wire import parse_rfc3339
from streams.console.access import ConsoleToken, is_loopback, parse_token
from streams.errors import SettingsError
from streams.kafka import error_of
from streams.rule import BUILT_IN_POLICY, FreezePolicy, PolicyEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
# An approval must be worthless a minute after it was given, so that a press a moment later still catches it (G7).
MAX_APPROVAL_SECONDS = 59
MAX_DUPLICATE_SECONDS = 7 * 86_400
# Behind the group of a shadow, so that it never shares partitions or transactional ids with a gate that is live.
SHADOW_SUFFIX = "-shadow"
# What would let a shadow be taken for a gate that is live.
NOT_OF_A_SHADOW = {
    "GATE_CONSOLE": "it would tell support that withdrawals are stopped",
    "GATE_DECISION_KEY_FILE": "no decision of a shadow may be signed",
}
MAX_PORT = 65_535
# Kafka allows topic names of 249 characters; the longest of ours has 26, and transactional ids are made of both.
MAX_PREFIX_CHARACTERS = 100
MAX_GROUP_CHARACTERS = 150
# librdkafka options that carry a promise: a file of options must not be able to take one away.
RESERVED_OPTIONS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "plugin.library.paths",
        "request.required.acks",
        "test.mock.num.brokers",
        "transactional.id",
    }
)
# What the Python client takes beside librdkafka's options are objects, and a file holds text: neither refuses it well.
OBJECT_OPTIONS = re.compile(r"logger|default\.topic\.config|\w+_cb")


def _setting(name: str, default: str, meaning: str, read: Callable[[str, str], Any]) -> Any:  # noqa: ANN401  (a field of any type)
    """Declare a setting; `read` takes its name and text and raises SettingsError."""
    return field(metadata={"name": name, "default": default, "meaning": meaning, "read": read})


def _number(text: str) -> int:
    """Return a whole number of up to nine ASCII digits, -1 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else -1  # noqa: PLR2004  (fits any port and period)


def _text(_name: str, text: str) -> str:
    return text


def _bootstrap(name: str, text: str) -> str:
    for server in text.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not 1 <= _number(port) <= MAX_PORT:
            raise SettingsError(name, text, "host:port, several joined by commas")
    return text


def _prefix(name: str, text: str) -> str:
    if len(text) > MAX_PREFIX_CHARACTERS or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text):
        raise SettingsError(name, text, "at most 100 letters, digits, dots, dashes and underscores")
    return text


def _group(name: str, text: str) -> str:
    if not 1 <= len(text) <= MAX_GROUP_CHARACTERS or not text.isprintable() or text != text.strip():
        raise SettingsError(name, text, "1 to 150 printable characters without spaces at the ends")
    if text.endswith(SHADOW_SUFFIX):
        raise SettingsError(name, text, f"a name without {SHADOW_SUFFIX} at its end, which is the group of a shadow")
    return text


def _seconds(most: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not 1 <= _number(text) <= most:
            raise SettingsError(name, text, f"a whole number of seconds from 1 to {most}")
        return int(text)

    return read


def _address(name: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not 0 <= _number(port) <= MAX_PORT:
        raise SettingsError(name, text, "host:port, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(name: str, text: str) -> str:
        if text.lower() not in allowed:
            raise SettingsError(name, text, " | ".join(allowed))
        return text.lower()

    return read


def _options(name: str, text: str) -> dict[str, str]:
    """Read a properties file: `name=value` lines, `#` comments. Values are secrets: no message repeats one."""
    if not text:
        return {}
    options: dict[str, str] = {}
    for number, raw in enumerate(_file(name, text).splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(("#", "!")):
            continue
        option, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not option:
            raise SettingsError(name, text, f"a file of name=value lines; line {number} is none")
        if option in RESERVED_OPTIONS:
            raise SettingsError(name, text, f"a file without {option}, which the gate's promises rest on")
        if OBJECT_OPTIONS.fullmatch(option):
            raise SettingsError(name, text, f"a file without {option}, whose value is an object of Python")
        options[option] = value
    _try_options(name, text, options)
    return options


def _try_options(name: str, text: str, options: dict[str, str]) -> None:
    """Let librdkafka judge the options; a value that its message repeats is blotted out."""
    try:
        AdminClient({"log_level": 0, **options, "bootstrap.servers": "127.0.0.1:1"})
    except KafkaException as exception:
        said = " ".join(error_of(exception).str().split())
        for value in sorted(filter(None, options.values()), key=len, reverse=True):
            said = said.replace(value, "***")
        raise SettingsError(name, text, f"a file of options that librdkafka takes; it says: {said}") from None


def _policy(name: str, text: str) -> FreezePolicy:
    if not text:
        return BUILT_IN_POLICY
    try:
        entries = orjson.loads(_file(name, text))
        if not isinstance(entries, list):
            message = "needed is a JSON list"
            raise TypeError(message)  # noqa: TRY301  (told with the others below)
        return FreezePolicy(tuple(_policy_entry(entry) for entry in entries))
    except KeyError as error:
        raise SettingsError(name, text, f"a freeze policy; an entry lacks {error.args[0]}") from error
    except (TypeError, ValueError) as error:
        raise SettingsError(name, text, f"the path of a freeze policy; in this one: {error}") from error


def _policy_entry(entry: Any) -> PolicyEntry:  # noqa: ANN401  (any JSON)
    if not isinstance(entry, dict):
        message = "each entry must be an object"
        raise TypeError(message)
    seconds = [entry[bound] for bound in ("min_seconds", "default_seconds", "max_seconds")]
    if any(isinstance(bound, bool) or not isinstance(bound, int) for bound in seconds):
        message = "min_seconds, default_seconds and max_seconds must be whole numbers"
        raise TypeError(message)
    if not isinstance(entry["effective_from"], str):
        message = "effective_from must be an RFC 3339 time"
        raise TypeError(message)
    return PolicyEntry(parse_rfc3339(entry["effective_from"]), *seconds)


def _keys(name: str, text: str) -> SigningKeys | None:
    if not text:
        return None
    try:
        return parse_keys(_file(name, text))
    except ValueError as error:
        raise SettingsError(name, text, f"the path of a file of signing keys; in this one: {error}") from error


def _switch(name: str, text: str) -> bool:
    if text not in {"", "0", "1"}:
        raise SettingsError(name, text, "1 for on, 0 for off")
    return text == "1"


def _token(name: str, text: str) -> ConsoleToken | None:
    if not text:
        return None
    try:
        return parse_token(_file(name, text))
    except ValueError as error:
        raise SettingsError(name, text, f"the path of a file with a token; in this one: {error}") from error


def _file(name: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(name, path, "the path of a readable UTF-8 file") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this deployment differs from the next; every value was checked when this was made."""

    kafka_bootstrap: str = _setting("GATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092", "bootstrap servers", _bootstrap)
    kafka_options: dict[str, str] = _setting(
        "GATE_KAFKA_OPTIONS", "", "path of a properties file of librdkafka options for every client", _options
    )
    topic_prefix: str = _setting("GATE_TOPIC_PREFIX", "", "put before every topic name", _prefix)
    group: str = _setting("GATE_GROUP", "withdrawal-gate", "consumer group that decides withdrawals", _group)
    data_dir: str = _setting("GATE_DATA_DIR", "./gate-data", "this worker's RocksDB; one worker per folder", _text)
    policy: FreezePolicy = _setting(
        "GATE_POLICY", "", "path of the freeze policy; built in: 24 h / 48 h / 7 d", _policy
    )
    approval_seconds: int = _setting(
        "GATE_APPROVAL_SECONDS", "30", "life of an approval, 1 to 59", _seconds(MAX_APPROVAL_SECONDS)
    )
    duplicate_seconds: int = _setting(
        "GATE_DUPLICATE_SECONDS", "3600", "how long a withdrawal_id is remembered", _seconds(MAX_DUPLICATE_SECONDS)
    )
    http: tuple[str, int] = _setting("GATE_HTTP", "127.0.0.1:8080", "health, metrics, look-up", _address)
    log: str = _setting("GATE_LOG", "info", "log level: debug, info, warning or error", _one_of(LOG_LEVELS))
    log_format: str = _setting("GATE_LOG_FORMAT", "text", "text, or json: an object a line", _one_of(LOG_FORMATS))
    console: bool = _setting("GATE_CONSOLE", "", "1: the read-only console, on GATE_HTTP", _switch)
    console_token_file: ConsoleToken | None = _setting(
        "GATE_CONSOLE_TOKEN_FILE", "", "path of the console's bearer token, needed off loopback", _token
    )
    shadow: bool = _setting("GATE_SHADOW", "", "1: decide on a topic of its own, and nothing else", _switch)
    decision_key_file: SigningKeys | None = _setting(
        "GATE_DECISION_KEY_FILE", "", "path of the keys that sign decisions", _keys
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read every setting; raise SettingsError for the first that is wrong. An empty value means the default."""
        found = os.environ if environment is None else environment
        values = {}
        for setting in fields(cls):
            name, default, read = (setting.metadata[part] for part in ("name", "default", "read"))
            values[setting.name] = read(name, found.get(name, "") or default)
        if values["shadow"]:
            for name, why in NOT_OF_A_SHADOW.items():
                if found.get(name, "") not in {"", "0"}:
                    raise SettingsError(name, found[name], f"nothing with GATE_SHADOW=1: {why}")
        settings = cls(**values)
        settings._require_a_token_off_loopback()
        return settings

    def _require_a_token_off_loopback(self) -> None:
        name, (host, port) = "GATE_CONSOLE_TOKEN_FILE", self.http
        if self.console and self.console_token_file is None and not is_loopback(host):
            why = f"GATE_CONSOLE is 1 and GATE_HTTP ({host}:{port}) is no loopback address"
            raise SettingsError(name, "", f"the path of a file with a token, as {why}")

    def topic(self, name: str) -> str:
        """Return the name that a topic of the contract has in this deployment.

        A shadow's decisions lie in a topic of their own. It is told no other name for them, so it can't write the live
        topic by mistake.
        """
        apart = self.shadow and name == withdrawal_decision.TOPIC
        return self.topic_prefix + (withdrawal_decision.SHADOW_TOPIC if apart else name)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics of the contract that this gate needs: a shadow writes neither statuses nor dead letters."""
        return SHADOW_NEEDS if self.shadow else TOPICS

    @property
    def workers_group(self) -> str:
        """The consumer group of the workers; also begins their other groups' names and their transactional ids."""
        return self.group + SHADOW_SUFFIX if self.shadow else self.group
