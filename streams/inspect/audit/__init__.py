"""`withdrawal-gate audit`: works every decision of a deployment out again, from its topics alone.

Of the gate's code it shares the rule (`streams/rule.py`) and the reading of records (`schemas`), nothing else: what
the gate does wrong, the audit does not do wrong in the same way. Read in this order:

1. `findings.py`: what can be found, and how it is told.
2. `extent.py`: up to where each topic is read, so that a deployment at work isn't accused of what is on its way.
3. `run.py`: the steps, in their order.
4. `letters.py`, `presses.py`, `requests.py`, `decisions.py`, `statuses.py`: a topic each, what is kept of it and what
   is held against it. All of it lies in RocksDB in a temporary folder (`ledger.py`).

What can't be judged is counted, and is neither fine nor a finding.
"""
