"""Runs `withdrawal-gate audit` in this process and takes its lines apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.inspect.audit.run import audit
from streams.settings import Settings

if TYPE_CHECKING:
    import pytest

    from tests.deployment import Deployment


class Audited(NamedTuple):
    """What an audit said."""

    code: int
    findings: list[dict[str, str]]
    summary: dict[str, Any]

    @property
    def kinds(self) -> set[str]:
        """Which kinds were found."""
        return {finding["finding"] for finding in self.findings}


def audited(
    gate: Deployment, capsys: pytest.CaptureFixture[str], since: str | None = None, until: str | None = None
) -> Audited:
    """Audit a deployment."""
    capsys.readouterr()
    code = audit(Settings.from_environment(gate.environment), since, until)
    *findings, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert summary["holds"] is (code == 0) is not bool(findings)
    assert sum(summary["findings"].values()) == len(findings)
    return Audited(code, findings, summary)
