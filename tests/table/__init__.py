"""What lies in RocksDB, on real folders."""
