"""Prints the alerts of `deploy/monitoring/alerts.yml` as a PrometheusRule of the Prometheus operator.

python -m deploy.prometheus_rule > deploy/kubernetes/prometheus-rule.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import indent

ALERTS = Path(__file__).parent / "monitoring" / "alerts.yml"
HEAD = """\
# Made by `python -m deploy.prometheus_rule` from deploy/monitoring/alerts.yml; change it there. A Prometheus of the
# operator takes rules by its `ruleSelector`: add the label that yours asks for, in an overlay.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: withdrawal-gate
  labels:
    app.kubernetes.io/part-of: withdrawal-gate
spec:
"""


def manifest() -> str:
    """Return the whole file, with the comments of the alerts."""
    return HEAD + indent(ALERTS.read_text("utf-8"), "  ")


if __name__ == "__main__":
    sys.stdout.write(manifest())
