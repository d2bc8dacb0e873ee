"""The command `withdrawal-gate`. There is no command that lifts or shortens a freeze."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.command import DURATION, answering, guarded
from streams.errors import EXIT_NO
from streams.inspect import commands as inspect

if TYPE_CHECKING:
    from streams.settings import Settings

DEFAULT_BROKER_PORT = 9092
# What `size` takes: more than there are people, and more a second than any topic carries.
MAX_USERS = 10_000_000_000
MAX_RATE = 10_000_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="withdrawal-gate")
def main() -> None:
    """Gate withdrawals: once an account's panic button is pressed, none of its withdrawals is approved until the end.

    Settings come from the environment (GATE_KAFKA_BOOTSTRAP and others, see the README). Output is JSON lines when it
    is piped. Exit codes: 0 fine, 1 the answer is no, 2 wrong usage or settings, 3 Kafka not reachable, 4 a promise
    can't be kept here.
    """


@main.command()
@guarded
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
    from streams.logs import set_up_logging

    set_up_logging(settings)
    GateWorker(create_app(settings), override_logging=False, loglevel=settings.log.upper()).execute_from_commandline()


@main.group()
def topics() -> None:
    """Make or verify the gate's topics."""


@topics.command("create")
@click.option("--partitions", type=click.IntRange(1, 10_000), help="Partitions of each topic that is made (default 6).")
@click.option("--replication", type=click.IntRange(1, 32), help="Replicas of each (default: the brokers' default).")
@guarded
@answering
def topics_create(settings: Settings, partitions: int | None, replication: int | None) -> None:
    """Make the topics that are missing; change nothing that exists.

    \b
    Example:     withdrawal-gate topics create --partitions 12 --replication 3
    Exit codes:  0 all topics are there   3 Kafka not reachable
    """
    from streams.topics_admin import create_topics

    create_topics(settings, partitions, replication)


@topics.command("check")
@guarded
@answering
def topics_check(settings: Settings) -> None:
    """Verify the topics; exit 1 with every fault listed."""
    from streams.topics_admin import check_topics

    sys.exit(0 if check_topics(settings) else EXIT_NO)


@main.command()
@click.argument("account")
@click.option("--hours", type=int, metavar="H", help="Length of the freeze in hours; not together with --seconds.")
@click.option("--seconds", type=int, metavar="S", help="Length of the freeze in seconds.")
@guarded
@answering
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
@guarded
@answering
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
@click.option("--every", type=DURATION, metavar="TIME", help="Go a round each 60s, 5m or 1h, until interrupted.")
@click.option("--http", metavar="HOST:PORT", help="Serve the drill's metrics there, for example 127.0.0.1:8090.")
@guarded
@answering
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
@guarded
@answering
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


@main.command()
@click.argument("users", type=click.IntRange(1, MAX_USERS))
@click.option(
    "--presses", type=click.IntRange(0, MAX_USERS), metavar="N", help="Presses a day (default: 1 of 10,000 users)."
)
@click.option(
    "--requests",
    type=click.IntRange(0, MAX_RATE),
    metavar="N",
    help="Requests in the busiest second (default: 5 times the mean of 1 a user in 20 days).",
)
@click.option(
    "--storm",
    type=click.IntRange(0, MAX_RATE),
    metavar="N",
    help="Presses a second in a storm of ten minutes (default: 1 of 100 users presses).",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3_650),
    default=30,
    show_default=True,
    metavar="D",
    help="Days for which decisions are kept.",
)
@guarded
@answering
def size(  # noqa: PLR0913  (the command's options, each by name)
    settings: Settings, *, users: int, presses: int | None, requests: int | None, storm: int | None, days: int
) -> None:
    """Reckon how large a deployment for so many USERS has to be: workers, memory, disk, network, broker settings.

    From measured figures and from assumptions, all of them in docs/capacity.md. Asks no broker. Memory and disk are
    those of one worker and of one broker. GATE_DUPLICATE_SECONDS and the longest window of GATE_POLICY count.

    \b
    Example:     withdrawal-gate size 1000000 --requests 50
    Exit codes:  0 printed   2 wrong argument or setting
    """
    from streams.size import load_of, show

    show(
        load_of(
            settings,
            users,
            presses_per_day=presses,
            requests_per_second=requests,
            storm_presses_per_second=storm,
            retention_days=days,
        )
    )


for reading in (inspect.status, inspect.watch, inspect.audit, inspect.evidence, inspect.report):
    main.add_command(reading)
