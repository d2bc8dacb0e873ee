"""What every command of `withdrawal-gate` does alike: settings, exit codes, how it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from streams.errors import GateError, KafkaUnreachable
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


class Duration(click.ParamType):
    """A time such as 60s, 5m or 1h, as whole seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401  (as click declares it)
        """Return seconds, or fail saying what is allowed."""
        number, unit = str(value)[:-1], str(value)[-1:]
        if (
            unit not in SECONDS_IN
            or not number.isascii()
            or not number.isdecimal()
            or not 1 <= int(number[:6]) <= MAX_DURATION
        ):
            self.fail(
                f"{value!r}; allowed is a whole number from 1 to 86400 with s, m or h, for example 60s", param, ctx
            )
        return int(number) * SECONDS_IN[unit]


MAX_DURATION = 86_400
SECONDS_IN = {"s": 1, "m": 60, "h": 3_600}
DURATION = Duration()


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Read the settings, run the command with them, and end it with the exit code of what went wrong."""

    @wraps(command)
    def run(**arguments: Any) -> None:
        from confluent_kafka import KafkaException

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            command(Settings.from_environment(), **arguments)
        except GateError as error:
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)
        except KafkaException as exception:
            click.echo(f"Kafka: {exception.args[0]}", err=True)
            sys.exit(KafkaUnreachable.exit_code)
        except (KeyboardInterrupt, BrokenPipeError):
            sys.exit(0)

    return run


def answering(command: Callable[..., None]) -> Callable[..., None]:
    """Never exit 0 without having given the answer: scripts read 0 as approved, or as frozen."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as interrupt:
            message = "interrupted before there was an answer"
            raise KafkaUnreachable(message) from interrupt
        except BrokenPipeError as error:
            forget_stdout()
            message = "done, but nobody read the answer: the pipe is closed"
            raise KafkaUnreachable(message) from error

    return run


def forget_stdout() -> None:
    """Let Python's flush at exit succeed after the other end of a pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
