"""The report as a page: a plot for each question with its figures beside it, made from the lines that are printed.

So the page can't show what the lines leave out: accounts, and what fewer than five chose.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.inspect.page import facts, page, shown, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, Any]

# A quarter of a year is as much as can be told apart in a plot; the tables have every day.
MAX_PLOTTED_DAYS = 92
# In units of the drawing, which is scaled to the page.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 190, 64, 10, 24
BAR_HEIGHT, NAME_WIDTH = 26, 240
MAX_DAY_LABELS = 8
MAX_BAR_WIDTH = 48
COLOURS = ("first", "second", "third")
SHADOW = (
    "A gate in shadow mode decided, and nobody acted on it. Where this page says stopped or rejected, read: would have "
    "been. The presses are real."
)


class Series(NamedTuple):
    """What a plot shows of each day: its name, and the figure; None where there is none."""

    name: str
    values: Sequence[float | None]


def report_page(rows: Sequence[Row], since: str | None, until: str | None) -> str:
    """Return the page for the rows of a report, the last of which is the one for all."""
    *days, total = rows
    between = [
        ("From", since or "the oldest record that the topics retain"),
        ("To", until or f"the newest record read, of {total['until'] or 'no time: there was none'}"),
    ]
    parts = [facts(between), *_summary(total)]
    if days:
        parts += _by_day(_every_day(days)) + _in_all(total)
    if total.get("shadow"):
        return page("What the gate would have stopped", [f"<p><strong>{shown(SHADOW)}</strong></p>", *parts, *_notes()])
    return page("How the panic button is used", [*parts, *_notes()])


def _summary(total: Row) -> list[str]:
    seconds = total["median_seconds_to_first_stopped"]
    return [
        "<h2>In all</h2>",
        facts(
            (
                ("Presses", total["presses"]),
                ("Presses whose account can't be told, beside these", total["presses_without_account"]),
                ("of them extended a freeze", total["extended"]),
                ("Freezes begun", total["freezes"]),
                ("of them over by now", total["over"]),
                ("over without any stopped request", total["over_without_stopped"]),
                ("Stopped requests", total["stopped_requests"]),
                ("of all that were decided", total["decided"]),
                ("Rejected as invalid", total["invalid_requests"]),
                ("Median from press to first stopped", "too few to tell" if seconds is None else f"{seconds:,.1f} s"),
                ("Extended in the last hour", total["extended_in_last_hour"]),
                ("Begun again within a day of the end", total["again_within_a_day"]),
            )
        ),
    ]


def _every_day(days: Sequence[Row]) -> list[tuple[str, Row | None]]:
    """Return the days in order, those on which nothing happened too, so that a plot's width is time."""
    known = {day["day"]: day for day in days}
    first, last = date.fromisoformat(min(known)), date.fromisoformat(max(known))
    first = max(first, last - timedelta(MAX_PLOTTED_DAYS - 1))
    plotted = [(first + timedelta(number)).isoformat() for number in range((last - first).days + 1)]
    earlier = [day for day in sorted(known) if day < plotted[0]]
    return [(day, known.get(day)) for day in (*earlier, *plotted)]


def _by_day(days: Sequence[tuple[str, Row | None]]) -> list[str]:
    def of(*plus: str, minus: tuple[str, ...] = ()) -> list[float | None]:
        return [0 if day is None else sum(day[n] for n in plus) - sum(day[n] for n in minus) for _, day in days]

    names = [name for name, _ in days]
    seconds = [None if day is None else day["median_seconds_to_first_stopped"] for _, day in days]
    return [
        "<h2>Day by day (UTC)</h2>",
        _plot("Presses", "What each press did.", names, [
            Series("froze the account", of("frozen")),
            Series("moved the end", of("extended")),
            Series("changed nothing", of("unchanged")),
        ]),
        _plot("Freezes, by the day they began", "And what had become of them when this was made.", names, [
            Series("over, stopped a request", of("over", minus=("over_without_stopped",))),
            Series("over, stopped none", of("over_without_stopped")),
            Series("not over", of("freezes", minus=("over",))),
        ]),
        _plot("Pressed again at the end", "Presses that moved the end in a freeze's last hour, and freezes begun within"
              " a day of the end of the one before: in both, the window was too short.", names, [
            Series("extended in the last hour", of("extended_in_last_hour")),
            Series("begun again within a day", of("again_within_a_day")),
        ]),
        _plot("Stopped requests", "Rejected because the account was frozen; of repeated tries each counts.", names,
              [Series("stopped", of("stopped_requests"))]),
        _plot("Seconds from the press to the first stopped request", "The median over the freezes begun that day that"
              " stopped one; none where there were fewer than five.", names, [Series("median seconds", seconds)]),
    ]  # fmt: skip


def _in_all(total: Row) -> list[str]:
    windows = sorted(total["windows_seconds"].items(), key=lambda one: (not one[0].isdecimal(), one[0].zfill(20)))
    return [
        "<h2>Windows, kinds and assets</h2>",
        _bars("Windows", "How long the presses froze for, after the policy; times as often as pressed.", "window",
              {_window(name): count for name, count in windows}),
        _bars("Kinds of the stopped requests", "As the wallet service names them.", "kind", total["stopped_kinds"]),
        _bars("Assets of the stopped requests", "As the wallet service names them.", "asset", total["stopped_assets"]),
    ]  # fmt: skip


def _window(seconds: str) -> str:
    hours, rest = divmod(int(seconds), 3_600) if seconds.isdecimal() else (0, 1)
    return f"{hours} h" if not rest else f"{seconds} s" if seconds.isdecimal() else seconds


def _notes() -> list[str]:
    notes = (
        "No account, press, withdrawal or address is in it.",
        "What fewer than five chose is counted under “other”, and a median over fewer than five is left out.",
        "The plain counts of a quiet day can still be small.",
        "A freeze counts for the day on which it began; presses and stopped requests count for their own.",
        "Presses of a drill are counted like any other. What the topics no longer retain is not in it.",
    )
    return ["<h2>What this is and is not</h2>", "<ul>", *(f"<li>{shown(note)}</li>" for note in notes), "</ul>"]


def _figure(title: str, note: str, drawing: str, figures: str) -> str:
    return (
        f"<figure>\n<figcaption><h3>{shown(title)}</h3>\n"
        f'<p class="dim">{shown(note)}</p></figcaption>\n{drawing}\n{figures}\n</figure>'
    )


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    label = f"Plot: {title}. The table after it has the same figures."
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{shown(label)}">\n' + "\n".join(parts) + "</svg>"
    )


def _plot(title: str, note: str, days: Sequence[str], series: Sequence[Series]) -> str:
    """Return bars over days, a day's series on top of each other."""
    plotted = range(max(0, len(days) - MAX_PLOTTED_DAYS), len(days))
    top = _round_up(max(sum(one.values[number] or 0 for one in series) for number in plotted))
    drawn = [_level(0, top), _level(top, top)]
    step = (WIDTH - LEFT) / len(plotted)
    for place, number in enumerate(plotted):
        x, below = LEFT + step * place, 0.0
        for one, colour in zip(series, COLOURS, strict=False):
            value = one.values[number] or 0
            if value:
                below += value
                told = f"{days[number]}: {one.name}: {value:,g}"
                width = min(step * 0.8, MAX_BAR_WIDTH)
                drawn.append(_rect(colour, x + (step - width) / 2, _height(below, top), width,
                                   _height(0, top) - _height(value, top), told))  # fmt: skip
        if place % -(-len(plotted) // MAX_DAY_LABELS) == 0:
            label = shown(days[number][5:])
            drawn.append(f'<text class="middle" x="{x + step / 2:.1f}" y="{HEIGHT - 6}">{label}</text>')
    kept = [number for number in range(len(days)) if any(one.values[number] for one in series)]
    figures = table(title, ["day", *(one.name for one in series)],
                    [[days[number], *(one.values[number] for one in series)] for number in kept])  # fmt: skip
    return _figure(title, note, _legend(series) + _svg(title, HEIGHT, drawn), figures)


def _level(value: float, top: float) -> str:
    y = _height(value, top)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="end" x="{LEFT - 8}" y="{y + 5:.1f}">{value:,g}</text>'
    )


def _height(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)


def _rect(colour: str, x: float, y: float, width: float, height: float, told: str) -> str:  # noqa: PLR0913, PLR0917  (SVG's own)
    return (
        f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{shown(told, marked=False)}</title></rect>"
    )


def _legend(series: Sequence[Series]) -> str:
    """Return what the colours stand for, in the order from the bottom of the bars."""
    if len(series) == 1:
        return ""
    keys = "".join(
        f'<text x="{number * WIDTH // 3 + 18}" y="14">{shown(one.name)}</text>'
        f'<rect class="{colour}" x="{number * WIDTH // 3}" y="2" width="14" height="14"/>'
        for number, (one, colour) in enumerate(zip(series, COLOURS, strict=False))
    )
    return f'<svg viewBox="0 0 {WIDTH} 20" aria-hidden="true">{keys}</svg>\n'


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50 … above a value."""
    top = 1.0
    while top < value:
        top *= 2.5 if f"{top:e}".startswith("2") else 2
    return top


def _bars(title: str, note: str, what: str, counted: Mapping[str, int]) -> str:
    """Return a bar for each name."""
    if not counted:
        return _figure(title, note, "", "<p>None.</p>")
    most, drawn = max(counted.values()), []
    for number, (name, count) in enumerate(counted.items()):
        y = number * BAR_HEIGHT
        width = (WIDTH - NAME_WIDTH - 80) * count / most
        drawn.append(f'<text class="end" x="{NAME_WIDTH - 8}" y="{y + 18}">{shown(name, marked=False)}</text>')
        drawn.append(_rect("first", NAME_WIDTH, y + 3, width, BAR_HEIGHT - 6, f"{name}: {count:,}"))
        drawn.append(f'<text x="{NAME_WIDTH + width + 6:.1f}" y="{y + 18}">{count:,}</text>')
    figures = table(title, [what, "times"], list(counted.items()))
    return _figure(title, note, _svg(title, len(counted) * BAR_HEIGHT, drawn), figures)
