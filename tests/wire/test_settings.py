"""The settings: every default is the contract's, every wrong value is one line, and no secret is ever repeated."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.wire import parse_rfc3339
from streams.errors import SettingsError
from streams.rule import BUILT_IN_POLICY, MAX_POLICY_SECONDS, FreezePolicy, PolicyEntry
from streams.settings import RESERVED_OPTIONS, Settings

ROOT = Path(__file__).parents[2]

# As the contract's table has them; an empty text is "none", "empty", "off" or "built in" there.
DEFAULTS = {
    "GATE_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "GATE_KAFKA_OPTIONS": "",
    "GATE_TOPIC_PREFIX": "",
    "GATE_GROUP": "withdrawal-gate",
    "GATE_DATA_DIR": "./gate-data",
    "GATE_POLICY": "",
    "GATE_APPROVAL_SECONDS": "30",
    "GATE_DUPLICATE_SECONDS": "3600",
    "GATE_HTTP": "127.0.0.1:8080",
    "GATE_LOG": "info",
    "GATE_LOG_FORMAT": "text",
    "GATE_CONSOLE": "",
    "GATE_CONSOLE_TOKEN_FILE": "",
    "GATE_SHADOW": "",
    "GATE_DECISION_KEY_FILE": "",
}
SECRET = "pa55-w0rd"  # noqa: S105  (a stand-in)


def refusal(name: str, value: str) -> str:
    """Return the one line that a value is refused with; it names the setting, the value and what is allowed."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({name: value})
    message = str(refused.value)
    assert refused.value.exit_code == 2
    assert "\n" not in message
    start = f"{name} is {value!r}; allowed is "
    assert message.startswith(start)
    assert len(message) > len(start)
    return message


def test_every_default_is_the_contracts() -> None:
    """An empty environment gives what the contract's table says."""
    found = Settings.from_environment({})
    assert found.kafka_bootstrap == "127.0.0.1:9092"
    assert found.kafka_options == {}
    assert found.topic_prefix == ""
    assert found.group == "withdrawal-gate"
    assert found.data_dir == "./gate-data"
    assert found.policy == BUILT_IN_POLICY
    assert found.approval_seconds == 30
    assert found.duplicate_seconds == 3600
    assert found.http == ("127.0.0.1", 8080)
    assert found.log == "info"
    assert found.log_format == "text"
    assert (found.console, found.console_token_file) == (False, None)
    assert found.shadow is False


def test_every_setting_is_one_of_the_contract_and_says_what_it_means() -> None:
    """Name, default and meaning stand with the field; the name is the field's, after GATE_."""
    names = [field.metadata["name"] for field in fields(Settings)]
    assert len(names) == len(set(names))
    for field in fields(Settings):
        assert field.metadata["name"] == f"GATE_{field.name.upper()}"
        assert DEFAULTS[field.metadata["name"]] == field.metadata["default"]
        assert field.metadata["meaning"]


def test_an_empty_value_is_the_default() -> None:
    """A variable that is set to nothing, as container platforms do, is not set."""
    assert Settings.from_environment(dict.fromkeys(DEFAULTS, "")) == Settings.from_environment({})


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument, os.environ."""
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GATE_TOPIC_PREFIX", "blue.")
    assert Settings.from_environment().topic("panic-button") == "blue.panic-button"


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        ("GATE_KAFKA_BOOTSTRAP", "kafka-1:9092,kafka-2:19092", "kafka_bootstrap", "kafka-1:9092,kafka-2:19092"),
        ("GATE_KAFKA_BOOTSTRAP", "[::1]:9092", "kafka_bootstrap", "[::1]:9092"),
        ("GATE_TOPIC_PREFIX", "Blue_1.x-", "topic_prefix", "Blue_1.x-"),
        ("GATE_TOPIC_PREFIX", "p" * 100, "topic_prefix", "p" * 100),
        ("GATE_GROUP", "my gate", "group", "my gate"),
        ("GATE_GROUP", "g" * 150, "group", "g" * 150),
        ("GATE_DATA_DIR", "/data/gate 1", "data_dir", "/data/gate 1"),
        ("GATE_APPROVAL_SECONDS", "1", "approval_seconds", 1),
        ("GATE_APPROVAL_SECONDS", "59", "approval_seconds", 59),
        ("GATE_DUPLICATE_SECONDS", "1", "duplicate_seconds", 1),
        ("GATE_DUPLICATE_SECONDS", "604800", "duplicate_seconds", 604_800),
        ("GATE_HTTP", "0.0.0.0:0", "http", ("0.0.0.0", 0)),  # noqa: S104  (read, not bound)
        ("GATE_HTTP", "[::]:65535", "http", ("::", 65_535)),
        ("GATE_LOG", "WARNING", "log", "warning"),
        ("GATE_LOG_FORMAT", "JSON", "log_format", "json"),
        ("GATE_CONSOLE", "1", "console", True),
        ("GATE_CONSOLE", "0", "console", False),
        ("GATE_SHADOW", "1", "shadow", True),
        ("GATE_SHADOW", "0", "shadow", False),
    ],
)
def test_a_right_value_is_read(name: str, value: str, field: str, read: object) -> None:
    """Values at the edge of what is allowed."""
    assert getattr(Settings.from_environment({name: value}), field) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("GATE_KAFKA_BOOTSTRAP", value) for value in ("kafka", "kafka:", ":9092", "kafka:port", "kafka:0")],
        *[("GATE_KAFKA_BOOTSTRAP", value) for value in ("kafka:65536", "kafka:-1", "a:1,,b:2", "a:1,", "a:1 b", " ")],
        ("GATE_KAFKA_BOOTSTRAP", "kafka:" + "9" * 5_000),
        ("GATE_KAFKA_BOOTSTRAP", "kafka:\u0669\u0660\u0669\u0662"),
        *[("GATE_TOPIC_PREFIX", value) for value in ("blue/", "blau ", "é", "a\nb", "p" * 101, "*")],
        *[("GATE_GROUP", value) for value in (" gate", "gate ", "ga\nte", "\0", "g" * 151, " ", "gate-shadow")],
        *[("GATE_APPROVAL_SECONDS", value) for value in ("0", "60", "-1", "30s", "1.5", "1e1", " 30", "+30", "3_0")],
        ("GATE_APPROVAL_SECONDS", "\u0663\u0660"),
        ("GATE_APPROVAL_SECONDS", "9" * 5_000),
        *[("GATE_DUPLICATE_SECONDS", value) for value in ("0", "604801", "-1", "1h", "", "none")[:4]],
        *[("GATE_HTTP", value) for value in ("8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http")],
        *[("GATE_HTTP", value) for value in ("127.0.0.1:65536", "127.0.0.1:-1", "on")],
        ("GATE_HTTP", "127.0.0.1:" + "8" * 5_000),
        ("GATE_HTTP", "127.0.0.1:\u0668\u0660\u0668\u0660"),
        *[("GATE_LOG", value) for value in ("loud", "trace", "info ", "20", "critical")],
        *[("GATE_LOG_FORMAT", value) for value in ("xml", "json ", "1")],
        *[("GATE_SHADOW", value) for value in ("true", "on", "2", " ", "1 ", "-1")],
        *[("GATE_CONSOLE", value) for value in ("on", "true", "2", "yes", " 1")],
        *[(name, "/no/such/file") for name in ("GATE_KAFKA_OPTIONS", "GATE_POLICY", "GATE_CONSOLE_TOKEN_FILE")],
        *[(name, "/") for name in ("GATE_KAFKA_OPTIONS", "GATE_POLICY", "GATE_CONSOLE_TOKEN_FILE")],
    ],
)
def test_a_wrong_value_is_one_line(name: str, value: str) -> None:
    """The command ends with exit code 2 and says which setting, what was found and what is allowed."""
    refusal(name, value)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.sampled_from(sorted(set(DEFAULTS) - {"GATE_KAFKA_OPTIONS", "GATE_POLICY"})), st.text(max_size=30))
def test_any_text_is_a_value_or_a_settings_error(name: str, value: str) -> None:
    """Nothing that an operator can write ends in a traceback."""
    try:
        Settings.from_environment({name: value})
    except SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017  (the message is the point)


def write(folder: Path, content: str | bytes) -> str:
    """Write a file; return its path."""
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_options_are_read_from_a_properties_file(tmp_path: Path) -> None:
    """Comments, blank lines and blanks around names and values; a value may hold an equals sign, or be empty."""
    path = write(
        tmp_path,
        "# comment\n! comment\n\n security.protocol = SASL_SSL \r\nsasl.mechanism=PLAIN\nsasl.username=\u00fcser\n"
        "sasl.password=a=b #c\nssl.key.password=\n",
    )
    found = Settings.from_environment({"GATE_KAFKA_OPTIONS": path}).kafka_options
    assert found == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "\u00fcser",
        "sasl.password": "a=b #c",
        "ssl.key.password": "",
    }


RESERVED = (
    "acks",
    "request.required.acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "partition.assignment.strategy",
    "plugin.library.paths",
    "test.mock.num.brokers",
    "transactional.id",
)


@pytest.mark.parametrize("option", RESERVED)
def test_an_option_that_a_promise_rests_on_is_refused(tmp_path: Path, option: str) -> None:
    """A file of options can't take away acknowledgements, transactions, offsets or the group."""
    path = write(tmp_path, f"sasl.password={SECRET}\n  {option} = {SECRET}\n")
    assert option in refusal("GATE_KAFKA_OPTIONS", path)


def test_the_reserved_options_are_the_ones_that_are_tested() -> None:
    """An option that becomes reserved gets its case above."""
    assert set(RESERVED) == RESERVED_OPTIONS


@pytest.mark.parametrize(
    "content",
    [
        f"sasl.password {SECRET}",
        f"sasl.username=gate\n{SECRET}\n",
        f"={SECRET}",
        f"acks={SECRET}",
        f"sasl.password={SECRET}\ngroup.id={SECRET}\n",
        f"sasl.password={SECRET}\0\nnothing",
        f"sasl.password={SECRET}\n".encode() + b"\xff",
        f"sasl.password={SECRET}\n".encode("utf-16"),
    ],
    ids=["no equals sign", "a bare line", "no name", "reserved", "reserved later", "NUL", "not UTF-8", "UTF-16"],
)
def test_a_secret_of_the_options_is_never_repeated(tmp_path: Path, content: str | bytes) -> None:
    """What is wrong is told by line number and by names of our own list: values are passwords."""
    message = refusal("GATE_KAFKA_OPTIONS", write(tmp_path, content))
    assert SECRET not in message
    assert "gate" not in message.partition("allowed is")[2].replace("the gate's promises", "")


def test_a_traceback_repeats_no_secret_either(tmp_path: Path) -> None:
    """The error's causes are printed by some supervisors."""
    path = write(tmp_path, f"sasl.password={SECRET}\n".encode() + b"\xff")
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"GATE_KAFKA_OPTIONS": path})
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "content",
    [
        f"sasl.pasword={SECRET}",
        f"security.protocol={SECRET}",
        f"socket.timeout.ms={SECRET}",
        f"security.protocol=SSL\nssl.key.pem={SECRET}",
    ],
    ids=["an unknown option", "an unknown choice", "text for a number", "a key that is none"],
)
def test_an_option_that_librdkafka_refuses_is_a_wrong_setting(tmp_path: Path, content: str) -> None:
    """Trying again can't help: exit code 2 and not 3, one line with the setting and its path, no value."""
    environment = {
        "PATH": "/nowhere",
        "GATE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "GATE_KAFKA_OPTIONS": write(tmp_path, content),
    }
    command = [sys.executable, "-m", "streams", "topics", "check"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert SECRET not in ended.stdout + ended.stderr
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"GATE_KAFKA_OPTIONS is {environment['GATE_KAFKA_OPTIONS']!r}; allowed is ")
    assert len(ended.stderr.splitlines()) == 1


ENTRY = {
    "effective_from": "1970-01-01T00:00:00Z",
    "min_seconds": 86_400,
    "default_seconds": 172_800,
    "max_seconds": 604_800,
}


def read_policy(folder: Path, entries: object) -> FreezePolicy:
    """Return the policy that a file of JSON gives."""
    return Settings.from_environment({"GATE_POLICY": write(folder, json.dumps(entries))}).policy


def test_the_contracts_own_policy_is_the_built_in_one(tmp_path: Path) -> None:
    """The example of the contract is the default."""
    assert read_policy(tmp_path, [ENTRY]) == BUILT_IN_POLICY


def test_a_history_of_policies_is_read(tmp_path: Path) -> None:
    """Several entries, times with any offset, fields that nobody knows."""
    later = {**ENTRY, "effective_from": "2026-11-22T10:00:00+01:00", "max_seconds": 700_000, "approved_by": "x"}
    found = read_policy(tmp_path, [ENTRY, later])
    assert found.entries[0] == BUILT_IN_POLICY.entries[0]
    assert found.entries[1] == PolicyEntry(parse_rfc3339("2026-11-22T09:00:00Z"), 86_400, 172_800, 700_000)
    assert len(found.entries) == 2


def without(name: str) -> dict[str, Any]:
    """Return an entry that lacks a field."""
    return {field: value for field, value in ENTRY.items() if field != name}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        pytest.param(ENTRY, "list", id="an object"),
        pytest.param("default", "list", id="text"),
        pytest.param(None, "list", id="null"),
        pytest.param([], "at least one entry", id="empty"),
        pytest.param([[ENTRY]], "object", id="a list in the list"),
        pytest.param([None], "object", id="null in the list"),
        *[pytest.param([without(name)], name, id=f"no {name}") for name in ENTRY],
        pytest.param([{**ENTRY, "min_seconds": True}], "whole numbers", id="true"),
        pytest.param([{**ENTRY, "min_seconds": "86400"}], "whole numbers", id="a number as text"),
        pytest.param([{**ENTRY, "max_seconds": 604_800.5}], "whole numbers", id="a fraction"),
        pytest.param([{**ENTRY, "max_seconds": 1e30}], "whole numbers", id="1e30"),
        pytest.param([{**ENTRY, "default_seconds": None}], "whole numbers", id="null as length"),
        pytest.param([{**ENTRY, "min_seconds": 0}], "min_seconds", id="a minimum of 0"),
        pytest.param([{**ENTRY, "min_seconds": -1}], "min_seconds", id="a negative minimum"),
        pytest.param([{**ENTRY, "min_seconds": 172_801}], "default_seconds", id="minimum above default"),
        pytest.param([{**ENTRY, "default_seconds": 604_801}], "max_seconds", id="default above maximum"),
        pytest.param([{**ENTRY, "max_seconds": MAX_POLICY_SECONDS + 1}], "max_seconds", id="more than 100 years"),
        pytest.param([{**ENTRY, "effective_from": 0}], "effective_from", id="a time as a number"),
        pytest.param([{**ENTRY, "effective_from": "soon"}], "soon", id="a time that is none"),
        pytest.param([{**ENTRY, "effective_from": "1970-01-01T00:00:00"}], "offset", id="a time without an offset"),
        pytest.param([ENTRY, ENTRY], "later effective_from", id="the same time twice"),
        pytest.param(
            [{**ENTRY, "effective_from": "2026-01-01T00:00:00Z"}, ENTRY], "later effective_from", id="unordered"
        ),
    ],
)
def test_a_bad_policy_is_refused_with_what_is_wrong_in_it(tmp_path: Path, entries: object, said: str) -> None:
    """A policy that could give a wrong window stops the worker before it reads a press."""
    assert said in refusal("GATE_POLICY", write(tmp_path, json.dumps(entries))).partition("allowed is")[2]


@pytest.mark.parametrize("content", ["", "{", "NaN", "[" * 2_000, b"\xff", b"\xef\xbb\xbf[]", "[{}]x\ny"])
def test_a_policy_that_is_no_json_is_refused(tmp_path: Path, content: str | bytes) -> None:
    """Whatever lies in the file, the message stays one line."""
    refusal("GATE_POLICY", write(tmp_path, content))


def test_settings_can_not_be_changed() -> None:
    """Every value was checked when the settings were made, and stays."""
    with pytest.raises(AttributeError):
        Settings.from_environment({}).approval_seconds = 3_600  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ("t" * 32, True),
        ("  " + "aZ09._~+/-" * 4 + "==\n", True),
        ("t" * 31, False),
        ("", False),
        (f"{'t' * 32}\n{'t' * 32}\n", False),
        ("t" * 31 + "\u00fc", False),
        (b"\xff" * 40, False),
    ],
    ids=["32", "all that is allowed", "31", "empty", "two lines", "not ASCII", "not UTF-8"],
)
def test_a_token_of_the_console_is_one_long_line_and_never_repeated(
    tmp_path: Path, content: str | bytes, *, taken: bool
) -> None:
    """Short ones can be guessed; what is wrong is told without a character of it, and so is what is right."""
    path = write(tmp_path, content)
    if not taken:
        assert "ttt" not in refusal("GATE_CONSOLE_TOKEN_FILE", path).replace(path, "")
        return
    found = Settings.from_environment({"GATE_CONSOLE_TOKEN_FILE": path})
    assert found.console_token_file is not None
    assert found.console_token_file.is_token(str(content).strip())
    assert str(content).strip() not in repr(found)


@pytest.mark.parametrize("http", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "gate.example:8080", "128.0.0.1:1"])
def test_a_console_off_loopback_without_a_token_is_refused(tmp_path: Path, http: str) -> None:
    """Whoever reaches the port could see who is frozen; with a token, or on loopback, it may run."""
    with pytest.raises(SettingsError, match="GATE_CONSOLE_TOKEN_FILE is ''; allowed is the path") as refused:
        Settings.from_environment({"GATE_CONSOLE": "1", "GATE_HTTP": http})
    assert "\n" not in str(refused.value)
    token = write(tmp_path, "t" * 32)
    assert Settings.from_environment({"GATE_CONSOLE": "1", "GATE_HTTP": http, "GATE_CONSOLE_TOKEN_FILE": token}).console
    assert Settings.from_environment({"GATE_HTTP": http}).http[1] in {1, 8080}
    for loopback in ("127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080", "localhost:8080"):
        assert Settings.from_environment({"GATE_CONSOLE": "1", "GATE_HTTP": loopback}).console
