"""Which metrics a PromQL expression reads, and which there are."""

from __future__ import annotations

import re

from streams.drill import DrillMetrics
from streams.metrics import Metrics

# Of Prometheus itself and of the node exporter; everything else must be exported by the worker.
FROM_ELSEWHERE = {"up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")
SUFFIXES = {"counter": ("_total",), "info": ("_info",), "histogram": HISTOGRAM_PARTS}
KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan"}


def exported() -> set[str]:
    """Return the name of every series of a worker and of a drill."""
    families = [*Metrics().registry.collect(), *DrillMetrics().registry.collect()]
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}


def metrics_of(expression: str) -> set[str]:
    """Return the metrics that an expression reads: names that are no function, keyword or label."""
    bare = re.sub(r"#[^\n]*", "", expression)
    bare = re.sub(r"\{(\"(\\.|[^\"])*\"|[^}\"])*\}", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\[[^]]*\]|\boffset\s+\w+|\b\d[\w.]*", "", bare)
    names = re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)
    return {name for name in names if name.lower() not in KEYWORDS}
