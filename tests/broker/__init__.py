"""The promises, on a real Apache Kafka."""
