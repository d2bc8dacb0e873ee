"""The changes of docs/runbook.md, rehearsed on real brokers and workers under traffic, then judged and audited."""
