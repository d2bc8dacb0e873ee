"""The command `withdrawal-gate`. There is no command that lifts or shortens a freeze."""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.errors import EXIT_NO, GateError, KafkaUnreachable
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_BROKER_PORT = 9092


class _Duration(click.ParamType):
    """A time such as 60s, 5m or 1h, as whole seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401  (as click declares it)
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
DURATION = _Duration()


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
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


def _answering(command: Callable[..., None]) -> Callable[..., None]:
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
            _forget_stdout()
            message = "done, but nobody read the answer: the pipe is closed"
            raise KafkaUnreachable(message) from error

    return run


def _forget_stdout() -> None:
    """Let Python's flush at exit succeed after the other end of a pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="withdrawal-gate")
def main() -> None:
    """Gate withdrawals: once an account's panic button is pressed, none of its withdrawals is approved until the end.

    Settings come from the environment (GATE_KAFKA_BOOTSTRAP and others, see the README). Output is JSON lines when it
    is piped. Exit codes: 0 fine, 1 the answer is no, 2 wrong usage or settings, 3 Kafka not reachable, 4 a promise
    can't be kept here.
    """


@main.command()
@_guarded
def worker(settings: Settings) -> None:
    """Run the gate until SIGTERM: follow presses, decide withdrawals, announce freezes.

    Each worker needs a GATE_DATA_DIR and a GATE_HTTP of its own. It decides once its freeze table is current (see
    /readyz); as many workers as withdrawal-request has partitions share the work. Let a supervisor restart it.

    \b
    Example:     GATE_DATA_DIR=./gate-2 GATE_HTTP=127.0.0.1:8082 withdrawal-gate worker
    Exit codes:  0 told to end, and drained   2 a wrong setting   3 Kafka not reachable
                 4 a promise can't be kept here (topics, data folder): an operator has to act
    """
    from streams.app import GateWorker, create_app

    logging.basicConfig(
        level=settings.log.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for quiet in ("faust", "mode", "aiokafka", "asyncio"):
        logging.getLogger(quiet).setLevel(max(logging.WARNING, logging.getLogger().level))
    GateWorker(create_app(settings), override_logging=False, loglevel=settings.log.upper()).execute_from_commandline()


@main.group()
def topics() -> None:
    """Make or verify the gate's topics."""


@topics.command("create")
@click.option("--partitions", type=click.IntRange(1, 10_000), help="Partitions of each topic that is made (default 6).")
@click.option("--replication", type=click.IntRange(1, 32), help="Replicas of each (default: the brokers' default).")
@_guarded
@_answering
def topics_create(settings: Settings, partitions: int | None, replication: int | None) -> None:
    """Make the topics that are missing; change nothing that exists.

    \b
    Example:     withdrawal-gate topics create --partitions 12 --replication 3
    Exit codes:  0 all topics are there   3 Kafka not reachable
    """
    from streams.topics_admin import create_topics

    create_topics(settings, partitions, replication)


@topics.command("check")
@_guarded
@_answering
def topics_check(settings: Settings) -> None:
    """Verify the topics; exit 1 with every fault listed."""
    from streams.topics_admin import check_topics

    sys.exit(0 if check_topics(settings) else EXIT_NO)


@main.command()
@click.argument("account")
@click.option("--hours", type=int, metavar="H", help="Length of the freeze in hours; not together with --seconds.")
@click.option("--seconds", type=int, metavar="S", help="Length of the freeze in seconds.")
@_guarded
@_answering
def press(settings: Settings, account: str, hours: int | None, seconds: int | None) -> None:
    """Press the panic button of ACCOUNT: stop its withdrawals from now until `frozen_until`.

    Without a length the policy's default counts (48 hours, built in). A length out of the policy's bounds (24 hours to
    7 days, built in) is moved to the nearest bound; `adjusted` says so. A freeze can't be ended or shortened
    afterwards: use a test account to try it. A second press can only move the end later.

    Prints press_id, partition, offset and frozen_until once every in-sync replica has the press. frozen_until is what
    this press asks for, in the broker's time; an earlier, longer one still counts (see `withdrawal-gate status`).

    \b
    Example:     withdrawal-gate press acc-42 --hours 72
    Exit codes:  0 acknowledged by Kafka
                 2 wrong argument or setting
                 3 not acknowledged, or interrupted; the message says whether the press may have been stored
                 4 no such topic, or stored in a topic without the broker's time
    """
    from streams.publish import press as publish_press

    publish_press(settings, account, hours=hours, seconds=seconds)


@main.command()
@click.argument("account")
@click.option("--id", "withdrawal_id", metavar="ID", help="The withdrawal_id, 1 to 128 characters (default: new).")
@click.option("--amount", default="10.00", show_default=True, metavar="A", help="How much, as a decimal number.")
@click.option("--asset", default="USDT", show_default=True, metavar="S", help="What.")
@click.option(
    "--wait", "wait_seconds", type=click.IntRange(1, 86_400), metavar="SECONDS", help="Wait that long for the decision."
)
@_guarded
@_answering
def request(  # noqa: PLR0913  (the command's options, each by name)
    settings: Settings,
    *,
    account: str,
    withdrawal_id: str | None,
    amount: str,
    asset: str,
    wait_seconds: int | None,
) -> None:
    """Ask for a withdrawal from ACCOUNT, as the wallet service does; with --wait print what the gate decides.

    Without --wait it prints withdrawal_id, account_id, partition and offset, and nothing is known of the decision. With
    --wait it prints the decision as it stands in withdrawal-decision, or why the request is in dead-letter instead
    (the same --id a second time). A worker has to run: `withdrawal-gate worker`.

    \b
    Example:     withdrawal-gate request acc-42 --amount 12.50 --wait 10
    Exit codes:  0 approved; without --wait: acknowledged by Kafka
                 1 rejected, buried as a dead letter, or no decision within --wait seconds
                 2 wrong argument or setting
                 3 not acknowledged, or interrupted; the message says whether the request may have been stored
                 4 no such topic
    """
    from streams.publish import request as publish_request

    sys.exit(
        publish_request(
            settings, account, withdrawal_id=withdrawal_id, amount=amount, asset=asset, wait_seconds=wait_seconds
        )
    )


@main.command()
@click.argument("account")
@_guarded
@_answering
def status(settings: Settings, account: str) -> None:
    """Tell whether ACCOUNT is frozen, since when, until when and by which press.

    Reads every press that panic-button retains and folds it with the gate's own rule, so no worker has to run. The end
    is in the broker's time: it is compared with the newest press read or, if that is later, with this machine's clock.

    \b
    Example:     withdrawal-gate status acc-42
    Exit codes:  0 frozen
                 1 not frozen
                 2 wrong argument or setting
                 3 no answer: Kafka not reachable, the topic not readable to its end, or interrupted
                 4 no such topic
    """
    from streams.inspect.look import status as look_status

    sys.exit(look_status(settings, account))


@main.command()
@click.argument("account", required=False)
@click.option("--since", metavar="TIME", help="Only what was appended at or after this time (RFC 3339).")
@click.option("--until", metavar="TIME", help="Only what was appended before this time.")
@click.option("--verify", metavar="FILE", type=click.Path(path_type=Path), help="Check a file of evidence instead.")
@_guarded
@_answering
def evidence(
    settings: Settings, account: str | None, since: str | None, until: str | None, verify: Path | None
) -> None:
    """Print everything that the topics hold about ACCOUNT, in order, with a hash chain over it.

    Lines of JSON: what was read, then each press, request, decision, status and dead letter of the account with its
    offset and append time, byte for byte, then how many. Each line's hash covers all lines before it. --verify checks
    the chain of such a file, and then every record against the topics as they are now.

    \b
    Example:     withdrawal-gate evidence acc-42 > acc-42.jsonl
                 withdrawal-gate evidence --verify acc-42.jsonl
    Exit codes:  0 printed; with --verify: it holds
                 1 with --verify: it does not, and each finding was printed
                 2 wrong argument or setting
                 3 no answer: Kafka not reachable, a topic not readable to its end, or interrupted
                 4 no such topic
    """
    from streams.inspect import evidence as found
    from streams.output import emit

    if (account is None) == (verify is None):
        message = "name an ACCOUNT, or a file with --verify"
        raise click.UsageError(message)
    if verify is not None:
        sys.exit(found.verify(settings, verify))
    for line in found.evidence(settings, account or "", since, until):
        emit(line)


@main.command()
@_guarded
def watch(settings: Settings) -> None:
    """Show decisions, freeze statuses and dead letters as they come, from now on, until Ctrl-C.

    On a terminal a line each; piped, a JSON line each with the field `topic` first. Committed records only, as the
    withdrawal engine sees them. Of a dead letter only reason, detail and source are shown, nothing of the record.

    \b
    Example:     withdrawal-gate watch | grep account_frozen
    Exit codes:  0 ended by Ctrl-C or because nobody reads the pipe
                 2 wrong setting
                 3 Kafka not reachable
                 4 no such topic
    """
    from streams.inspect.look import watch as look_watch

    try:
        look_watch(settings)
    except BrokenPipeError:
        _forget_stdout()


@main.command()
@click.option("--every", type=DURATION, metavar="TIME", help="Go a round each 60s, 5m or 1h, until interrupted.")
@click.option("--http", metavar="HOST:PORT", help="Serve the drill's metrics there, for example 127.0.0.1:8090.")
@_guarded
@_answering
def drill(settings: Settings, every: int | None, http: str | None) -> None:
    """Press the button for a test account and see that its withdrawals stop: a canary for the whole path.

    A round is an account `gate-drill-…` of its own: asks and is approved, presses for the policy's shortest time, asks
    again and must be rejected. Prints a line each round, with the seconds from the acknowledged press to the rejection.

    \b
    Example:     withdrawal-gate drill --every 60s --http 127.0.0.1:8090
    Exit codes:  0 the round went well; with --every: ended by Ctrl-C or SIGTERM
                 1 a withdrawal was approved after the press; without --every also: no decision in time
                 2 wrong argument or setting
                 3 without --every: Kafka not reachable, or interrupted
                 4 without --every: no such topic
    """
    from streams.drill import drill as run_drill

    sys.exit(run_drill(settings, every_seconds=every, http=http))


@main.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=DEFAULT_BROKER_PORT, show_default=True)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("kafka-data"), show_default=True)
def broker(port: int, data: Path) -> None:
    """Run a single-node Apache Kafka for development, until Ctrl-C; needs neither Docker nor an installed Java.

    The first time it fetches Kafka's jars, about 45 MB. It listens on loopback only and keeps its records in --data.

    \b
    Example:     withdrawal-gate broker --port 9092 --data ./kafka-data
    Exit codes:  0 told to end   2 the port is taken   3 Kafka could not run
    """
    from streams.dev_broker import run_foreground

    sys.exit(run_foreground(port, data))


@main.command()
@click.option("--keep", is_flag=True, help="Tell no story: keep a broker and a worker running until Ctrl-C.")
@_guarded
@_answering
def demo(_settings: Settings, *, keep: bool) -> None:
    """Show the whole flow on a real broker, in about 40 seconds, with a verdict at the end.

    Withdrawals of many accounts flow, one account presses its panic button, the worker that decides it is killed and
    another takes over, and a judge reads all the topics: was a promise broken? It starts a Kafka of its own in a
    temporary folder, or uses the one that GATE_KAFKA_BOOTSTRAP names, with topics and groups of its own that are
    removed at the end. With --keep: Kafka on port 9092 and a worker on port 8080, or on the next ones that are free,
    which keep what they store in ./gate-data.

    \b
    Exit codes:  0 every promise was kept; with --keep: ended by Ctrl-C
                 1 a promise was broken, something did not happen in its time, or interrupted before the verdict
                 2 wrong setting
                 3 Kafka not reachable, or it can't be started here
                 4 a promise can't be kept here
    """
    from streams.demo.keep import keep_running
    from streams.demo.story import tell_story

    sys.exit(keep_running() if keep else tell_story())
