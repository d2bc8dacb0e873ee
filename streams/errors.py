"""What can end a command, and with which exit code.

GateError
├── SettingsError        2  a setting or an argument is wrong: mend it and start again
├── KafkaUnreachable     3  no broker answered, or it refused the credentials: retrying helps once Kafka is back
└── PromiseAtRisk        4  a promise can't be kept here: retrying does not help, an operator has to act
    ├── TopicFaults         topics missing or configured so that a promise could break: the lines name each fault
    └── FolderFault         the data folder is damaged, in use, or belongs to another cluster or topic

Exit code 0 is fine, 1 means that the answer is no. Each message is one line that names the thing, what was found and
what is needed or to be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FINE = 0
EXIT_NO = 1


class GateError(Exception):
    """An end that the gate can explain."""

    exit_code = 1


class SettingsError(GateError):
    """A setting is wrong; the message names it, its value and what is allowed."""

    exit_code = 2

    def __init__(self, name: str, value: str, allowed: str) -> None:
        """Say which setting, what was found and what is allowed."""
        super().__init__(f"{name} is {value!r}; allowed is {allowed}")


class KafkaUnreachable(GateError):
    """No broker answered in time."""

    exit_code = 3


class PromiseAtRisk(GateError):
    """Going on could break a promise of the contract."""

    exit_code = 4


class TopicFaults(PromiseAtRisk):
    """Topics are missing or configured in a way that could break a promise."""

    def __init__(self, faults: Sequence[str]) -> None:
        """Take one sentence a fault."""
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class FolderFault(PromiseAtRisk):
    """The data folder can't be used."""
