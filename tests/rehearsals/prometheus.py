"""A real Prometheus with the rules and the configuration of deploy/monitoring, on targets of this machine."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.processes import free_port, wait_for
from tests.tools import tool

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"


class Prometheus:
    """Started with the project's files; only the targets are others."""

    def __init__(self, folder: Path, workers: list[int], drill: int) -> None:
        """Start it."""
        self.folder = folder
        self._targets = len(workers) + 1
        folder.mkdir(parents=True)
        configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
        configuration["rule_files"] = [str(MONITORING / name) for name in configuration["rule_files"]]
        for job, ports in zip(configuration["scrape_configs"], (workers, [drill]), strict=True):
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self.port = free_port()
        options = {
            "config.file": folder / "prometheus.yml",
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{self.port}",
            "log.level": "warn",
        }
        with (folder / "prometheus.log").open("w") as log:
            self.process = subprocess.Popen(
                [tool("prometheus"), *(f"--{name}={value}" for name, value in options.items())],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_calm(self) -> None:
        """Wait until it has looked at every target, and no alert is left from the start."""
        wait_for(lambda: len(self._up()) == self._targets, "Prometheus to have scraped every target")
        wait_for(lambda: not self.alerts(), "no alert to be left from the start")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)

    def _ask(self, path: str) -> Any:  # noqa: ANN401  (what Prometheus answers)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return {}

    def _up(self) -> list[dict[str, Any]]:
        targets: list[dict[str, Any]] = self._ask("targets?state=active").get("activeTargets", [])
        return [target for target in targets if target["health"] == "up"]

    def alerts(self) -> list[dict[str, Any]]:
        """Return what is pending or firing now, from /api/v1/alerts."""
        found: list[dict[str, Any]] = self._ask("alerts").get("alerts", [])
        return found

    def firing(self, name: str, severity: str = "") -> bool:
        """Tell whether an alert of that name, and severity if one is given, fires."""
        return any(
            alert["state"] == "firing" and alert["labels"]["alertname"] == name
            for alert in self.alerts()
            if severity in {"", alert["labels"]["severity"]}
        )

    def photograph(self, path: Path) -> None:
        """Let Chromium make a picture of Prometheus' own page of alerts, without the path of the rules on this machine.

        The page is the one that Debian's Prometheus makes on the server, under /classic.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/classic/alerts", timeout=5) as answer:
            page = answer.read().decode()
        page = page.replace(f"{MONITORING}/", "").replace(
            "<head>", f'<head><base href="http://127.0.0.1:{self.port}/">'
        )
        saved = self.folder / "alerts.html"
        saved.write_text(page)
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,900")
        command = [tool("chromium"), *options, f"--screenshot={path}", saved.as_uri()]
        subprocess.run(command, capture_output=True, timeout=60, check=True)

    def table(self) -> str:
        """Return the alerts, a line each, as somebody would read them."""
        return "\n".join(
            f"{alert['state']:8} {alert['labels']['severity']:8} {alert['labels']['alertname']}: "
            f"{alert['annotations']['summary']}"
            for alert in sorted(self.alerts(), key=lambda alert: (alert["state"], alert["labels"]["alertname"]))
        )
