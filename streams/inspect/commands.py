"""The commands that read a deployment's topics: status, watch, audit, evidence, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.command import answering, forget_stdout, guarded
from streams.errors import SettingsError

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.argument("account")
@guarded
@answering
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


@click.command()
@click.option("--since", metavar="TIME", help="First what was appended at or after this time (RFC 3339).")
@guarded
def watch(settings: Settings, since: str | None) -> None:
    """Show decisions, freeze statuses and dead letters as they come, from now on, until Ctrl-C.

    On a terminal a line each; piped, a JSON line each with the field `topic` first. Committed records only, as the
    withdrawal engine sees them. Of a dead letter only reason, detail and source are shown, nothing of the record.

    \b
    Examples:    withdrawal-gate watch | grep account_frozen
                 withdrawal-gate watch --since 2026-11-22T03:00:00Z | grep dead-letter
    Exit codes:  0 ended by Ctrl-C or because nobody reads the pipe
                 2 wrong argument or setting
                 3 Kafka not reachable
                 4 no such topic
    """
    from streams.inspect.look import watch as look_watch

    try:
        look_watch(settings, since)
    except BrokenPipeError:
        forget_stdout()


@click.command()
@click.option("--since", metavar="TIME", help="Only requests and presses appended at or after this time (RFC 3339).")
@click.option("--until", metavar="TIME", help="Only those appended before this time.")
@guarded
@answering
def audit(settings: Settings, since: str | None, until: str | None) -> None:
    """Work every decision out again from the topics alone, and print each that is not as it should be.

    A JSON line a finding, then a summary; on a terminal the first findings of each kind and a table. What can't be
    judged is counted under not_judged. Takes GATE_POLICY, GATE_APPROVAL_SECONDS and GATE_DUPLICATE_SECONDS for those
    of the workers. Whether a press was acknowledged before a request was sent can't be told from the topics: a worker
    that names honestly how little it had applied is not found out.

    \b
    Example:     withdrawal-gate audit --since 2026-11-01T00:00:00Z
    Exit codes:  0 nothing was found
                 1 each finding was printed
                 2 wrong argument or setting
                 3 no answer: Kafka not reachable, a topic not readable to its end, or interrupted
                 4 no such topic
    """
    from streams.inspect.audit.run import audit as run_audit

    sys.exit(run_audit(settings, since, until))


@click.command()
@click.argument("account", required=False)
@click.option("--since", metavar="TIME", help="Only what was appended at or after this time (RFC 3339).")
@click.option("--until", metavar="TIME", help="Only what was appended before this time.")
@click.option(
    "--html", "html_path", metavar="FILE", type=click.Path(path_type=Path), help="Write a page to read there, too."
)
@click.option("--verify", metavar="FILE", type=click.Path(path_type=Path), help="Check a file of evidence instead.")
@guarded
@answering
def evidence(  # noqa: PLR0913  (the command's options, each by name)
    settings: Settings,
    *,
    account: str | None,
    since: str | None,
    until: str | None,
    html_path: Path | None,
    verify: Path | None,
) -> None:
    """Print everything that the topics hold about ACCOUNT, in order, with a hash chain over it.

    Lines of JSON: what was read, then each press, request, decision, status and dead letter of the account with its
    offset and append time, byte for byte, then how many. Each line's hash covers all lines before it. --verify checks
    the chain of such a file, and then every record against the topics as they are now.

    \b
    Example:     withdrawal-gate evidence acc-42 --html acc-42.html > acc-42.jsonl
                 withdrawal-gate evidence --verify acc-42.jsonl
    Exit codes:  0 printed; with --verify: it holds
                 1 with --verify: it does not, and each finding was printed
                 2 wrong argument or setting
                 3 no answer: Kafka not reachable, a topic not readable to its end, or interrupted
                 4 no such topic
    """
    from streams.inspect import evidence as found
    from streams.inspect.evidence_page import evidence_page
    from streams.output import emit, write_file

    if (account is None) == (verify is None) or (html_path and verify):
        message = "name an ACCOUNT, or a file with --verify"
        raise click.UsageError(message)
    if settings.shadow:
        name = "GATE_SHADOW"
        raise SettingsError(name, "1", "0 for evidence: what a shadow decides is evidence of nothing")
    if verify is not None:
        sys.exit(found.verify(settings, verify))
    lines = found.evidence(settings, account or "", since, until)
    if html_path is not None:
        # Personal data in full: for nobody else on this machine.
        write_file("--html", html_path, evidence_page(lines), mode=0o600)
    for line in lines:
        emit(line)


@click.command()
@click.option("--since", metavar="TIME", help="Only what was appended at or after this time (RFC 3339).")
@click.option("--until", metavar="TIME", help="Only what was appended before this time.")
@click.option(
    "--csv", "csv_path", metavar="FILE", type=click.Path(path_type=Path), help="Write the figures there, too."
)
@click.option(
    "--html", "html_path", metavar="FILE", type=click.Path(path_type=Path), help="Write a page with plots there, too."
)
@guarded
@answering
def report(
    settings: Settings, since: str | None, until: str | None, csv_path: Path | None, html_path: Path | None
) -> None:
    """Tell how the button is used, day by day (UTC): presses, windows, extensions, what was stopped, and how soon.

    No account, press, withdrawal or address is in it, and what was chosen by fewer than five is shown as "other". It
    reaches back as far as the topics do: presses 14 days, decisions 30.

    \b
    Example:     withdrawal-gate report --since 2026-11-01T00:00:00Z --csv button.csv --html button.html
    Exit codes:  0 printed   2 wrong argument or setting
                 3 no answer: Kafka not reachable, a topic not readable to its end, or interrupted
                 4 no such topic
    """
    from streams.inspect.report import report as write_report

    write_report(settings, since, until, csv_path, html_path)
