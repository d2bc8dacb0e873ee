"""`withdrawal-gate demo`: the whole flow on a real broker, told to somebody who sees it for the first time."""
