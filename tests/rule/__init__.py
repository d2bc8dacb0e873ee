"""The rule, pure."""
