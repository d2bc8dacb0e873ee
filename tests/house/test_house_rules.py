"""House rules, as tests: which way imports run, how tests are written, what no file may hold."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What installing, running, testing and building leave behind.
MADE = {"__pycache__", "node_modules", "build", "dist", "gate-data", "withdrawal-gate-data", "broker-data"}
# Whole records of other tools, generated: their words are not ours.
GENERATED = {"requirements.txt", "requirements-dev.txt"}
MAX_MODULE_LINES = 400
LONGER_MODULES = {
    "streams/dev_broker.py": "a tool for development, one story from Java to a running broker; no worker imports it",
}
MAX_RULE_LINES = 150


@cache
def files() -> tuple[Path, ...]:
    """Return every file of the project, relative to its root."""
    found: list[Path] = []
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            hidden = path.name.startswith(".") and path.name not in {".github", ".gitignore", ".dockerignore"}
            if hidden or path.name in MADE or path.name.endswith(".egg-info"):
                continue
            if path.is_dir():
                folders.append(path)
            else:
                found.append(path.relative_to(ROOT))
    return tuple(sorted(found))


def modules(*under: str) -> list[Path]:
    """Return the Python files under those top-level folders."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in under]


def text_of(path: Path) -> str:
    """Return a file's text; what is not UTF-8 is no text of ours."""
    return (ROOT / path).read_text("utf-8", "replace")


@cache
def tree_of(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(text_of(path), str(path))


def imports_of(path: Path) -> set[str]:
    """Return the full names of all that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.parts[: len(path.parts) - node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def tops_of(path: Path) -> set[str]:
    """Return the top-level names of all that a module imports."""
    return {name.partition(".")[0] for name in imports_of(path)}


def test_the_project_is_where_these_rules_look() -> None:
    """A rule over no files would always hold."""
    for top in ("schemas", "streams", "tests"):
        assert len(modules(top)) > 5, top


def test_schemas_import_nothing_of_the_service() -> None:
    """What travels knows no service, no deployment, no Kafka, no RocksDB and no clock."""
    allowed = {"schemas", "orjson"} | (sys.stdlib_module_names - {"time", "random", "socket", "os", "subprocess"})
    for path in modules("schemas"):
        assert tops_of(path) <= allowed, path
        assert ".now(" not in text_of(path), path


def test_the_rule_imports_the_standard_library_and_the_status_only() -> None:
    """The rule has no clock, no chance and no I/O to get at."""
    rule = Path("streams/rule.py")
    assert tops_of(rule) <= sys.stdlib_module_names | {"schemas"}
    assert not tops_of(rule) & {"time", "datetime", "random", "secrets", "uuid", "os", "io", "pathlib", "socket", "sys"}
    assert all(name.startswith("schemas.freeze_status.") for name in imports_of(rule) if name.startswith("schemas"))
    called = {
        node.func.id
        for node in ast.walk(tree_of(rule))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input", "eval", "exec", "__import__"}


def test_the_rule_is_short_enough_to_be_read_first() -> None:
    """Who wants to know what the gate does reads one short file."""
    assert len(text_of(Path("streams/rule.py")).splitlines()) <= MAX_RULE_LINES


def test_the_service_imports_no_tests() -> None:
    """What runs in production is not what checks it."""
    for path in modules("streams", "schemas", "deploy"):
        assert not tops_of(path) & {"tests", "pytest", "hypothesis", "jsonschema_rs"}, path


def test_deployment_imports_schemas_only() -> None:
    """`deploy` reads the topics, and nothing of the service."""
    for path in modules("deploy"):
        assert not tops_of(path) & {"streams", "tests"}, path


def test_the_audit_shares_the_rule_with_the_gate_and_nothing_else() -> None:
    """What the gate does wrong, the audit must not do wrong in the same way: of `streams` it sees helpers only."""
    # Of the console the settings need who may see it; what the gate does is further down, and would be found.
    shared = {"rule", "errors", "kafka", "settings", "store", "output", "inspect", "console"}
    todo, audited = [Path("streams/inspect/audit") / name for name in ("run.py", "__init__.py")], set[Path]()
    while todo:
        path = todo.pop()
        audited.add(path)
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] != "streams":
                continue
            assert parts[1] in shared, f"{path} imports {name}"
            # A name of a module, or the module itself; whichever is a file.
            found = [Path(*parts[:length]).with_suffix(".py") for length in (len(parts), len(parts) - 1)]
            todo += [module for module in found if module in files() and module not in audited]
    assert {Path("streams/rule.py"), Path("streams/inspect/audit/decisions.py")} <= audited


def test_the_worker_imports_no_development_broker() -> None:
    """The broker for development is of the commands and of the tests."""
    importers = {str(path) for path in modules("streams") if any("dev_broker" in name for name in imports_of(path))}
    assert not importers & {"streams/worker.py", "streams/app.py", "streams/runtime.py"}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function that a module defines, nested ones too."""
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_test_says_in_one_line_what_it_holds() -> None:
    """Names are sentences, docstrings say why: the collected tests read as the specification."""
    tests = [(path, node) for path in modules("tests") for node in functions(path) if node.name.startswith("test_")]
    assert len(tests) > 50
    wrong = []
    for path, node in tests:
        docstring = ast.get_docstring(node, clean=False)
        if not docstring or "\n" in docstring.strip() or node.name.count("_") < 3:
            wrong.append(f"{path}:{node.lineno} {node.name}")
    assert not wrong


def test_no_test_sleeps() -> None:
    """A test waits for what it needs, with a limit; a fixed pause is either too short or wasted."""
    wrong = [str(path) for path in modules("tests") if "time.sleep" in imports_of(path)]
    for path in modules("tests"):
        called = [node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        wrong += [f"{path}:{call.lineno}" for call in called if ast.unparse(call) == "time.sleep"]
    assert not wrong


def test_no_module_is_longer_than_can_be_read_at_a_sitting() -> None:
    """At most 400 lines; what is longer has its reason here."""
    lengths = {str(path): len(text_of(path).splitlines()) for path in files() if path.suffix == ".py"}
    assert {path for path, lines in lengths.items() if lines > MAX_MODULE_LINES} <= LONGER_MODULES.keys()
    assert LONGER_MODULES.keys() <= lengths.keys()


def lines_with(pattern: re.Pattern[str], *, without: frozenset[str] = frozenset()) -> list[str]:
    """Return the places of the project where a pattern is found; the bytes of a picture may spell anything."""
    return [
        f"{path}:{number}"
        for path in files()
        if str(path) not in without and path.suffix != ".png"
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if pattern.search(line)
    ]


def test_nothing_is_left_to_do_later() -> None:
    """What is not done is said in the README, not in a comment that nobody reads."""
    later = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    assert not lines_with(later, without=frozenset(GENERATED))


# Each in two parts, so that this file holds none of them.
REGISTRIES = (
    "py" + "pi.org",
    "files.python" + "hosted.org",
    "registry.np" + "mjs.org",
    "repo.ma" + "ven.apache.org",
    "repo1.ma" + "ven.org",
    "crates" + ".io",
    "proxy.go" + "lang.org",
    "conda." + "anaconda.org",
)


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_the_host_of_a_package_registry(host: str) -> None:
    """Where packages come from is the installer's configuration, and differs from place to place."""
    assert not lines_with(re.compile(re.escape(host), re.IGNORECASE))


def test_no_file_names_a_path_of_one_machine() -> None:
    """What is here works wherever it is checked out."""
    homes = ["/" + "home/[a-z]", "/" + "Users/[A-Za-z]"]
    # A checkout right below the root, as in an image, has a name too common to look for.
    here = [re.escape(str(ROOT)) + r"\b"] if len(ROOT.parts) > 2 else []
    assert not lines_with(re.compile("|".join(homes + here)))


def test_no_schema_knows_a_word_for_ending_a_freeze() -> None:
    """There is no field, value or record by which a freeze could be ended (G2)."""
    ending = re.compile(r"un-?freez|\blift|\bthaw|cancel_?freeze|release_?freeze", re.IGNORECASE)
    assert not [place for place in lines_with(ending) if place.startswith("schemas/")]


def test_every_package_of_the_project_is_one() -> None:
    """A folder with tests and without `__init__.py` could shadow another of its name."""
    for path in modules("schemas", "streams", "tests"):
        assert (ROOT / path.parent / "__init__.py").exists(), path.parent


def test_every_file_beside_the_code_comes_with_the_package() -> None:
    """A style sheet that the wheel leaves out is missed where it is installed, and not here."""
    declared = tomllib.loads(text_of(Path("pyproject.toml")))["tool"]["setuptools"]["package-data"]
    packed = {path for top, globs in declared.items() for each in globs for path in (ROOT / top).glob(each)}
    beside = [path for path in files() if path.parts[0] in {"schemas", "streams"} and path.suffix not in {".py", ".md"}]
    assert {Path("streams/console/console.js"), Path("schemas/asyncapi.yaml")} <= set(beside)
    assert [path for path in beside if ROOT / path not in packed] == []


def test_each_exception_from_the_linter_has_its_reason() -> None:
    """What is switched off in a line says why in the same line."""
    pattern = re.compile(r"# noqa: [A-Z0-9]+(?:, [A-Z0-9]+)*(?P<reason>.*)$")
    bare = [
        f"{path}:{number}"
        for path in files()
        if path.suffix == ".py" and path.name != "test_house_rules.py"
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if (found := pattern.search(line)) is not None and not found["reason"].strip()
    ]
    assert bare == []
