"""Commands that read a deployment's topics without a worker. Nothing here writes to Kafka."""
