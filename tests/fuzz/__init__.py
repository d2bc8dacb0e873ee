"""Records nobody would send, in numbers: mutations of the shared examples and a corpus of nasty text and JSON."""
