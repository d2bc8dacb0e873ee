"""The withdrawal gate: a Faust app that keeps frozen accounts from being paid out. Read `rule.py` first."""
