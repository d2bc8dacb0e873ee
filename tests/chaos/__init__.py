"""Random runs of the real gate against a cluster of three brokers, under faults; each is named by its seed."""
