"""What travels: one module a record, the topics, and the JSON Schema that other languages use.

Nothing here knows Kafka clients, RocksDB or a clock. `streams` and `deploy` import this package, never the reverse.
"""
