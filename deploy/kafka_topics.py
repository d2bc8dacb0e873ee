"""Prints the topics of `schemas/topics.py` as Strimzi's KafkaTopic resources.

python -m deploy.kafka_topics > deploy/kubernetes/kafka-topics.yaml
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from schemas.topics import DEFAULT_PARTITIONS, MIN_INSYNC_REPLICAS, TOPICS

if TYPE_CHECKING:
    from schemas.topics import Topic

# An acknowledged press lies on two brokers, and one of three can be away without stopping the button.
REPLICAS = MIN_INSYNC_REPLICAS + 1
CLUSTER = "kafka"
HEAD = f"""\
# Made by `python -m deploy.kafka_topics` from schemas/topics.py; change it there. `strimzi.io/cluster` is the name of
# your Kafka resource, in whose namespace these belong. A worker checks the topics at its start and refuses wrong ones.
# Never delete `{TOPICS[0].name}`: all freezes are in it.
"""


def manifest(topic: Topic) -> str:
    """Return a topic as one YAML document; values of the configuration are text, as Kafka takes them."""
    config = {**topic.config, "min.insync.replicas": str(MIN_INSYNC_REPLICAS)}
    lines = "".join(f'    {option}: "{value}"\n' for option, value in config.items())
    return f"""\
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: {topic.name}
  labels:
    strimzi.io/cluster: {CLUSTER}
spec:
  partitions: {DEFAULT_PARTITIONS}
  replicas: {REPLICAS}
  config:
{lines}"""


def manifests() -> str:
    """Return the whole file."""
    return HEAD + "".join(map(manifest, TOPICS))


if __name__ == "__main__":
    sys.stdout.write(manifests())
