"""What travels: examples, parsing, settings. No broker."""
