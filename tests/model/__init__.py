"""The design as small state machines, explored to the last state: which orders of events keep the promises, and why.

Read `explorer.py` (what is checked), then the scenarios, each small enough to be read at a sitting:

    freshness.py     follow, barrier, gate: no approval after an acknowledged press (G1)
    folding.py       follow, freeze table, policy, purge: no freeze ends early or late (G2, G3)
    deciding.py      exactly_once, lane, resume: each request has one outcome, and gets it (G4)
    announcing.py    announce: each end of a freeze is said once (the timers)

`python -m tests.model` prints the number of states of each, and for every wrong variant the shortest way into trouble.
"""
