"""The pages of the console: sign in, look up, live. Plain HTML that works without a script, but for what moves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from schemas.freeze_status import Adjusted
from schemas.wire import ACCOUNT_ID_MAX_CHARACTERS, MAX_TIME_MS, rfc3339
from streams.announce import reminder_ms
from streams.console.access import SESSION_SECONDS
from streams.inspect.page import STYLE, document, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.console.stopped import StoppedCount
    from streams.rule import Freeze

# Where each thing of the console is served.
LOOK_UP, LIVE, FIGURES = "/console", "/console/live", "/console/live.json"
SIGN_IN, SIGN_OUT = "/console/sign-in", "/console/sign-out"
SHEET, SCRIPT = "/console/console.css", "/console/console.js"
# Own files only; nothing inline, nothing from elsewhere, in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
ONLY_READS = (
    "This console only reads. Nothing here, and nothing else in this software, can lift or shorten a freeze: "
    "it ends by itself, at its time."
)
_ADJUSTED = {
    None: "as asked for",
    Adjusted.DEFAULTED: "no length was asked for, so it is the policy's default",
    Adjusted.RAISED: "raised to the policy's shortest",
    Adjusted.LOWERED: "lowered to the policy's longest",
}
_LIVE_ROWS = (
    ("rate", "Decisions a second", "this worker, over the last seconds"),
    ("decided", "Decided since it started", "this worker"),
    ("frozen", "Accounts frozen", "now, in all"),
    ("undecided", "Requests not decided yet", "in this worker's partitions"),
    ("oldest", "Age of the oldest undecided", "0 when none waits"),
    ("unapplied", "Presses not in its table yet", "nothing is approved before they are"),
    ("workers", "Workers", "that share the partitions, this one too"),
    ("partitions", "Its partitions of withdrawal-request", "other workers decide the others"),
)


def style_sheet(own: str) -> str:
    """Return the style sheet: what all pages of the gate share, and the console's own."""
    return STYLE + own


def sign_in_page(problem: str | None = None) -> str:
    """Return the form that takes the token."""
    return _page(
        "Sign in",
        (
            _alert(problem),
            f'<form method="post" action="{SIGN_IN}">',
            '<label for="token">Token of this console</label>',
            '<div class="line"><input id="token" name="token" type="password" autocomplete="current-password" required',
            "autofocus><button>Sign in</button></div></form>",
            '<p class="dim">Who runs the gate has it, in the file that <code>GATE_CONSOLE_TOKEN_FILE</code> names.',
            f"You stay signed in for {SESSION_SECONDS // 3_600} hours.</p>",
        ),
    )


def look_up_page(answer: Iterable[str], *, title: str, signs_out: bool) -> str:
    """Return the form that asks for an account, and the answer. The title is kept in histories: no id is in it."""
    said = "".join(answer)
    focus = "" if said else " autofocus"
    form = (
        f'<form method="post" action="{LOOK_UP}"><label for="account">Account id, exactly as it is written</label>'
        '<div class="line"><input id="account" name="account_id" autocomplete="off" autocapitalize="off" '
        f'spellcheck="false" required{focus}><button>Look up</button></div></form>'
    )
    return _page("Look up an account", (form, said), title=title, here=LOOK_UP, signs_out=signs_out)


def frozen_answer(
    account_id: str, freeze: Freeze, *, now_ms: int, stopped: StoppedCount, current: bool
) -> Iterator[str]:
    """Tell a freeze in force."""
    left_s = max(0, freeze.frozen_until_ms - now_ms) // 1000
    yield _verdict("Frozen", "frozen")
    yield f"<p>{_code(account_id)}: no withdrawal is approved before the end.</p>"
    if not current:
        yield '<p class="notice">This worker is behind: the end can have moved later meanwhile, never earlier.</p>'
    timer = f'<span id="left" role="timer" data-left-ms="{left_s * 1000}">{left_text(left_s)}</span>'
    yield _facts(
        ("Frozen until", _time(freeze.frozen_until_ms)),
        ("Time left", timer),
        ("Frozen since", _time(freeze.frozen_since_ms)),
        ("End set by press", f"{_code(freeze.press_id)}<br>{_time(freeze.pressed_ms)}"),
        ("Its length", shown(_length(freeze))),
        ("Requests stopped", _stopped(stopped, freeze)),
        ("Reminder", _reminder(freeze, now_ms)),
    )
    yield '<p id="over" role="status"></p>'


def not_frozen_answer(account_id: str, last: Freeze | None) -> Iterator[str]:
    """Tell that no freeze is in force, and of the last one, as long as it is known."""
    yield _verdict("Not frozen", "free")
    yield f"<p>No freeze of {_code(account_id)} is in force.</p>"
    if last is not None:
        yield _facts(
            ("Last freeze from", _time(last.frozen_since_ms)),
            ("It ended", _time(last.frozen_until_ms)),
            ("End set by press", _code(last.press_id)),
        )
    if account_id != account_id.strip():
        yield '<p class="notice">The id begins or ends with a space, and was looked up with it.</p>'
    yield (
        '<p class="dim">Capital letters and spaces count. A press shows here within seconds of its acknowledgement; it '
        "stops withdrawals from the acknowledgement on.</p>"
    )


def unknown_answer(account_id: str, problems: Iterable[str]) -> Iterator[str]:
    """Tell that this worker can't say, and who can."""
    yield _verdict("Not known", "unknown")
    yield (
        f"<p>{_code(account_id)} may be frozen or not: this worker's freeze table is not current. Until it is, this "
        "worker approves nothing. Look again in a moment, ask another worker, or run "
        "<code>withdrawal-gate status</code>, which reads the presses themselves.</p>"
    )
    yield "<ul>" + "".join(f"<li>{shown(problem)}</li>" for problem in problems) + "</ul>"


def refused_answer() -> Iterator[str]:
    """Tell why this can't be looked up."""
    yield _alert(f"No account has such an id: it has 1 to {ACCOUNT_ID_MAX_CHARACTERS} characters.")


def live_page(*, signs_out: bool) -> str:
    """Return the page that the script keeps up to date."""
    rows = "".join(
        f'<div><dt>{shown(title)}</dt><dd id="{name}">-</dd><dd class="dim">{shown(note)}</dd></div>'
        for name, title, note in _LIVE_ROWS
    )
    return _page(
        "Live",
        (
            '<p id="state" class="notice" role="status">Waiting for the first figures.</p>',
            '<ul id="problems"></ul>',
            f'<dl id="figures" class="tiles" data-from="{FIGURES}">{rows}</dl>',
            '<p><button id="pause" type="button" aria-pressed="false">Pause</button>',
            '<span class="dim">Figures come every two seconds.</span></p>',
            "<noscript><p>This page needs JavaScript; <code>/metrics</code> has the same figures.</p></noscript>",
        ),
        here=LIVE,
        signs_out=signs_out,
    )


def refusal_page(title: str, problem: str) -> str:
    """Return a page that only says no."""
    return _page(title, (f"<p>{shown(problem)}</p>",))


def _page(
    heading: str, parts: Iterable[str], *, title: str | None = None, here: str | None = None, signs_out: bool = False
) -> str:
    head = (
        f'<link rel="stylesheet" href="{SHEET}">',
        f'<script type="module" src="{SCRIPT}"></script>',
    )
    body = (
        "<header>",
        "<strong>withdrawal-gate</strong>",
        _navigation(here, signs_out=signs_out) if here else "",
        "</header>",
        "<main>",
        f"<h1>{shown(heading)}</h1>",
        *parts,
        "</main>",
        f"<footer>{ONLY_READS}</footer>",
    )
    return document(f"{title or heading} · withdrawal-gate", head, body)


def _navigation(here: str, *, signs_out: bool) -> str:
    links = "".join(
        f'<a href="{path}" aria-current="{"page" if path == here else "false"}">{name}</a>'
        for path, name in ((LOOK_UP, "Look up"), (LIVE, "Live"))
    )
    leave = f'<form method="post" action="{SIGN_OUT}"><button>Sign out</button></form>' if signs_out else ""
    return f'<nav aria-label="Console">{links}{leave}</nav>'


def _verdict(text: str, kind: str) -> str:
    """Return the answer in two words; it takes the focus, so that it is read out first."""
    return f'<h2 id="verdict" class="{kind}" tabindex="-1" autofocus>{text}</h2>'


def _alert(problem: str | None) -> str:
    return f'<p class="notice" role="alert">{shown(problem)}</p>' if problem else ""


def _facts(*rows: tuple[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"


def _code(text: str) -> str:
    return f"<code>{shown(text)}</code>"


def _time(at_ms: int) -> str:
    """Return a time in UTC; the script adds what this computer's clock calls it."""
    told = datetime.fromtimestamp(min(at_ms, MAX_TIME_MS) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f'<time datetime="{rfc3339(at_ms)}">{told}</time>'


def _length(freeze: Freeze) -> str:
    asked = "" if freeze.adjusted in {None, Adjusted.DEFAULTED} else f" (asked for: {span_text(freeze.asked_seconds)})"
    return f"{span_text(freeze.applied_seconds)}: {_ADJUSTED[freeze.adjusted]}{asked}"


def _stopped(stopped: StoppedCount, freeze: Freeze) -> str:
    finds_all = "<code>withdrawal-gate evidence</code> finds all."
    if not stopped.fresh:
        if stopped.until_ms is not None:
            known = f"at least {stopped.count:,}, of the decisions until {_time(stopped.until_ms)}"
        elif stopped.readable:
            known = f"of the last decisions some {stopped.left:,} are still to be read"
        else:
            known = "this worker can't read the decisions"
        return f"not known at present: {known}. {finds_all}"
    count = f"{stopped.count:,}" if stopped.count else "none"
    if stopped.since_ms <= freeze.frozen_since_ms:
        return f"{count}, by all workers, since this freeze began"
    return f"{count}, by all workers, since {_time(stopped.since_ms)}. Before that more may have been: {finds_all}"


def _reminder(freeze: Freeze, now_ms: int) -> str:
    due_ms = reminder_ms(freeze)
    if due_ms is None:
        return "none: the press set the end for an hour or less"
    return f"{'goes' if due_ms > now_ms else 'was due to go'} out {_time(due_ms)}"


def span_text(seconds: int | None) -> str:
    """Return a length as the report does: in hours, or in seconds if it is not whole hours."""
    return f"{seconds // 3_600:,} h" if seconds and seconds % 3_600 == 0 else f"{seconds:,} s"


def left_text(seconds: int) -> str:
    """Return what is left; the script of the page goes on in the same words."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day} d {hour:02} h {minute:02} min {second:02} s"
