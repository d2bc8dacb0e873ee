"""The product, broken on purpose: each module is a worker with one safeguard left out, and a test convicts it."""
