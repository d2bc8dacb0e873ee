"""README.md, held against the code that it describes: settings, commands, metrics, topics, reasons, examples, paths."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import jsonschema_rs
import pytest
from aiohttp.web import DynamicResource, PlainResource
from aiohttp.web_urldispatcher import PrefixedSubAppResource

from schemas import freeze_status, panic_button, withdrawal_decision, withdrawal_request
from schemas.freeze_status import Adjusted, Status
from schemas.topics import DEFAULT_PARTITIONS, TOPICS, WITHDRAWAL_DECISION_SHADOW
from schemas.wire import FaultReason
from schemas.withdrawal_decision import Reason
from streams import errors
from streams.cli import main
from streams.errors import EXIT_FINE, EXIT_NO, GateError
from streams.health import CHECKS
from streams.http_endpoints import endpoints
from streams.runtime import Runtime
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "schemas/README.md", "docs/metrics.md", "docs/connect.md", "docs/console.md")
# The settings that other teams rely on, in their order.
CONTRACT = (
    ("GATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092"),
    ("GATE_KAFKA_OPTIONS", ""),
    ("GATE_TOPIC_PREFIX", ""),
    ("GATE_GROUP", "withdrawal-gate"),
    ("GATE_DATA_DIR", "./gate-data"),
    ("GATE_POLICY", ""),
    ("GATE_APPROVAL_SECONDS", "30"),
    ("GATE_DUPLICATE_SECONDS", "3600"),
    ("GATE_HTTP", "127.0.0.1:8080"),
    ("GATE_LOG", "info"),
    ("GATE_LOG_FORMAT", "text"),
    ("GATE_CONSOLE", ""),
    ("GATE_CONSOLE_TOKEN_FILE", ""),
    ("GATE_SHADOW", ""),
    ("GATE_DECISION_KEY_FILE", ""),
)
ALL_TOPICS = (*TOPICS, WITHDRAWAL_DECISION_SHADOW)
RECORDS = tuple(module.TOPIC for module in (panic_button, withdrawal_request, withdrawal_decision, freeze_status))
# A name in backticks is a path of ours when it starts in one of these folders or is one of these files.
OUR_FOLDERS = ("streams/", "schemas/", "tests/", "deploy/", "examples/")
OUR_FILES = re.compile(r"Makefile|LICENSE|docker-compose\.yml|[\w.*<>-]+\.(py|md|toml|txt|schema\.json)")

Row = tuple[str, ...]


@cache
def text_of(document: str = "README.md") -> str:
    """Return a document's text."""
    return (ROOT / document).read_text("utf-8")


def ticked(text: str) -> list[str]:
    """Return what stands in backticks, in order."""
    return re.findall(r"`([^`\n]+)`", text)


@cache
def prose_of(document: str = "README.md") -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


def table(*header: str) -> list[Row]:
    """Return the rows of the one table with that header."""
    lines = prose_of().splitlines()
    found = [number for number, line in enumerate(lines) if cells(line) == header]
    assert len(found) == 1, f"{len(found)} tables with the header {header}"
    rows: list[Row] = []
    for line in lines[found[0] + 2 :]:
        if not line.startswith("|"):
            break
        assert len(cells(line)) == len(header), line
        rows.append(cells(line))
    return rows


def cells(line: str) -> Row:
    """Return the cells of a table's line; a bar in backticks would split one, so there is none."""
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|")) if line.startswith("|") else ()


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that name it."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, *path, name)
    else:
        yield " ".join(path), command


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a language: what the fence says they are, and their text."""
    return re.findall(rf"^```{language}(?: +([^\n]+))?\n(.*?)^```$", text_of(), re.MULTILINE | re.DOTALL)


def kinds_of(error: type[GateError]) -> Iterator[type[GateError]]:
    """Yield an error and everything below it."""
    yield error
    for below in error.__subclasses__():
        yield from kinds_of(below)


def test_the_settings_table_is_the_settings_with_their_defaults_in_order() -> None:
    """A setting that nobody documented, or documented otherwise, can't be relied on."""
    rows = table("name", "default", "meaning")
    declared = [(field.metadata["name"], field.metadata["default"]) for field in fields(Settings)]
    # An empty default is said in a word: none, empty, built in.
    documented = [(ticked(name)[0], "".join(ticked(default))) for name, default, _ in rows]
    assert documented == declared == list(CONTRACT)
    assert all(default and meaning for _, default, meaning in rows)


def test_a_setting_that_is_named_exists() -> None:
    """A misspelt one would be set, and change nothing."""
    assert set(re.findall(r"\bGATE_[A-Z_]+\b", text_of())) == {name for name, _ in CONTRACT}


def test_the_commands_table_is_the_commands_with_their_options_and_arguments() -> None:
    """What is documented can be typed, and what can be typed is documented."""
    documented = {}
    for (cell,) in (ticked(row[0])[:1] for row in table("command", "does")):
        words = re.match(r"[a-z][a-z ]*[a-z]", cell)
        assert words is not None, cell
        rest = cell[words.end() :]
        documented[words[0]] = (re.findall(r"--[a-z-]+", rest), re.findall(r"[A-Z]+", re.sub(r"\[[^]]*\]", "", rest)))
    declared = {}
    for name, command in commands(main):
        options = [option.opts[-1] for option in command.params if isinstance(option, click.Option)]
        arguments = [str(argument.name).upper() for argument in command.params if isinstance(argument, click.Argument)]
        declared[name] = (options, arguments)
    assert documented == declared


def test_every_command_of_the_shell_blocks_exists() -> None:
    """What a stranger copies runs: commands of the gate, targets of make, files of the project."""
    known = {name for name, _ in commands(main)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shell = "\n".join(text for _, text in blocks("sh"))
    typed = re.findall(r"withdrawal-gate ([a-z]+(?: (?:create|check))?)", shell)
    assert typed
    assert set(typed) <= known
    made = {tick.split()[1] for tick in ticked(prose_of()) if tick.startswith("make ")}
    assert {"demo", "test", "up"} <= made <= targets
    paths = re.findall(r"\btests/[\w./]+", shell)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_topics_table_is_the_topics_with_their_whole_configuration() -> None:
    """Writer, reader, key and every option that `topics create` sets, no more and no less."""
    rows = table("topic", "written by", "read by", "key", "partitions", "configuration")
    documented = {
        ticked(name)[0]: (written_by, read_by, key, dict(option.split("=", 1) for option in ticked(configuration)))
        for name, written_by, read_by, key, _, configuration in rows
    }
    assert documented == {
        topic.name: (topic.written_by, topic.read_by, topic.key, dict(topic.config)) for topic in ALL_TOPICS
    }
    bound = {ticked(row[0])[0]: ticked(row[4]) for row in rows if ticked(row[4])}
    assert bound == {topic.name: [topic.partitions_of] for topic in ALL_TOPICS if topic.partitions_of}
    assert f"with {DEFAULT_PARTITIONS} partitions" in prose_of()


def test_the_dead_letter_table_names_every_reason() -> None:
    """Whoever is on call finds the header's value in the table."""
    assert [ticked(row[0])[0] for row in table("reason", "a press", "a request")] == list(FaultReason)


def test_the_values_of_decisions_and_statuses_are_all_named() -> None:
    """A value that is not explained will be guessed at."""
    named = set(ticked(prose_of()))
    assert {*Status, *Adjusted, *Reason} <= named


def test_the_exit_codes_are_those_of_the_errors() -> None:
    """Each code that a command can end with stands in the table, once."""
    raised = {EXIT_FINE, EXIT_NO, *(kind.exit_code for kind in kinds_of(GateError))}
    rows = table("exit code", "means", "the supervisor of a worker")
    assert [int(row[0]) for row in rows] == sorted(raised)
    assert errors.__doc__ is not None
    assert all(all(row) for row in rows)


def test_the_http_table_is_what_is_served() -> None:
    """Every path, and every check that /readyz lists."""
    settings = Settings.from_environment({"GATE_CONSOLE": "1"})
    resources = endpoints(Runtime(settings), settings).router.resources()
    kinds = PlainResource | DynamicResource | PrefixedSubAppResource
    served = [resource.canonical for resource in resources if isinstance(resource, kinds)]
    rows = table("path", "answers")
    assert [ticked(row[0])[0] for row in rows] == served
    assert ", ".join(CHECKS) in next(answers for path, answers in rows if "/readyz" in path)


def test_every_promise_is_told_with_the_files_that_keep_it() -> None:
    """G1 to G8, each with paths that exist."""
    rows = table("", "promise", "kept in")
    assert [row[0] for row in rows] == [f"G{number}" for number in range(1, 9)]
    for _, _, kept_in in rows:
        assert ticked(kept_in)
        assert all((ROOT / path).is_file() for path in ticked(kept_in)), kept_in


@pytest.mark.parametrize("record", RECORDS)
def test_the_examples_of_a_record_keep_to_its_schema(record: str) -> None:
    """Examples are copied: each is valid, and names no field that the schema doesn't know."""
    schema = json.loads((ROOT / "schemas" / f"{record}.schema.json").read_text("utf-8"))
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    examples = [json.loads(text) for kind, text in blocks("json") if kind == record]
    assert examples
    for example in examples:
        assert [error.message for error in validator.iter_errors(example)] == []
        assert example.keys() <= schema["properties"].keys()


def test_every_json_block_says_what_it_is() -> None:
    """A block without a kind would not be checked."""
    assert {kind for kind, _ in blocks("json")} == {*RECORDS, "GATE_POLICY"}


def test_the_example_of_a_policy_is_accepted(tmp_path: Path) -> None:
    """It can be copied into a file and named in GATE_POLICY."""
    (policy,) = (text for kind, text in blocks("json") if kind == "GATE_POLICY")
    path = tmp_path / "policy.json"
    path.write_text(policy, "utf-8")
    assert len(Settings.from_environment({"GATE_POLICY": str(path)}).policy.entries) == 2


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_path_of_a_document_leads_somewhere(document: str) -> None:
    """Relative links, and names in backticks that look like files of the project; `<topic>` stands for any."""
    folder = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose_of(document))
    wrong = [link for link in links if "://" not in link and not (folder / link).exists()]
    paths = [name for name in ticked(prose_of(document)) if name.startswith(OUR_FOLDERS) or OUR_FILES.fullmatch(name)]
    assert paths
    for path in paths:
        pattern = re.sub(r"<\w+>", "*", path)
        if not any(list(base.glob(pattern)) for base in (folder, ROOT)):
            wrong.append(path)
    assert wrong == []


def test_the_readme_can_be_read_at_a_sitting() -> None:
    """What is longer belongs into a page of its own."""
    assert len(text_of().splitlines()) <= 360
