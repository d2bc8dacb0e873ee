"""The reference engines, one after the other."""

from __future__ import annotations

import pytest

from tests.connect.programs import EngineProgram, java_engine, python_engine


@pytest.fixture(params=["python", "java"])
def engine_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EngineProgram:
    """Return an engine's program; what has to be compiled is compiled once."""
    if request.param == "python":
        return python_engine()
    return java_engine(tmp_path_factory.getbasetemp() / "java-engine")
