"""The report's page: right figures in plots and tables, small groups left out, nothing that loads or runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from streams.inspect.page import STYLE
from streams.inspect.report import Day
from streams.inspect.report_page import MAX_PLOTTED_DAYS, report_page
from tests.pages.reading import complaints, harmless_page

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = '"><script>alert(1)</script>'


def rows(*days: tuple[str, Day]) -> list[dict[str, Any]]:
    """Return the lines of a report, as they are printed."""
    total = Day()
    for _, day in days:
        total.add(day)
    return [*(day.row(name) for name, day in days), {**total.row("all"), "until": "2026-11-22T09:00:00.000Z"}]


def a_day(presses: int, **counts: int) -> Day:
    """Return a day on which the same happened often enough to be shown."""
    return Day(
        counts=Counter({"presses": presses, "frozen": presses, "freezes": presses, **counts}),
        windows=Counter({"86400": 3, "172800": 5, "3601": 6, "604800": 2}),
        kinds=Counter({"chain": 7, "fiat": 1}),
        assets=Counter({HOSTILE: 5, "RARE": 4}),
        stopped_after_seconds=[1.5] * 5,
    )


def test_the_page_shows_every_figure_of_each_day_and_of_all() -> None:
    """What the printed lines say stands in the tables; each window, kind and asset has a bar."""
    html = report_page(rows(("2026-11-20", a_day(1_234)), ("2026-11-22", a_day(7, extended=3))), None, None)
    page = harmless_page(html)
    assert page.tags.count("table") == page.tags.count("figure") == 8
    for told in ("1,234", "1,241", "1.5 s", "48 h", "3601 s", "chain", "2026-11-20: froze the account: 1,234"):
        assert told in page.text, told
    # A bar for each figure that is not 0, with a day between of which there is none; and the keys of the colours.
    assert html.count("2026-11-22: moved the end: 3") == 1
    assert ">11-21</text>" in html


def test_the_page_leaves_out_what_fewer_than_five_chose() -> None:
    """Small groups are `other` in plots and tables alike, and few medians are none."""
    few = Day(counts=Counter({"presses": 4}), stopped_after_seconds=[3.25] * 4)
    html = report_page(rows(("2026-11-20", a_day(9))), None, None)
    for hidden in ("RARE", "fiat", "24 h", "168 h"):
        assert hidden not in html, hidden
    assert html.count("other: 5</title>") == 1
    assert "too few to tell" in report_page(rows(("2026-11-20", few)), None, None)
    assert "3.2" not in harmless_page(report_page(rows(("2026-11-20", few)), None, None)).text.replace(STYLE, "")


def test_a_page_of_nothing_and_one_of_years_can_both_be_made() -> None:
    """Without a day there is no plot; of a long time the plots show the end, the tables all."""
    assert "svg" not in harmless_page(report_page(rows(), None, None)).tags
    html = report_page(rows(("1970-01-01", a_day(5)), ("2026-11-22", a_day(8))), None, None)
    harmless_page(html)
    assert html.count("1970-01-01") == 3
    assert html.count("1970-01-01: ") == 0
    assert len(html) < 200 * MAX_PLOTTED_DAYS * 5


def test_a_browser_shows_the_page_and_its_policy_refuses_nothing_of_it(tmp_path: Path) -> None:
    """Chromium has nothing to say; with a style or a script that is not ours it has."""
    html = report_page(rows(("2026-11-20", a_day(9))), None, None)
    told = {}
    for name, text in {
        "page": html,
        "styled": html.replace("<main>", '<main><p style="color: red">red</p>'),
        "script": html.replace("<h2>", "<script>document.title = 'run'</script><h2>", 1),
    }.items():
        path = tmp_path / f"{name}.html"
        path.write_text(text)
        told[name] = complaints(path, tmp_path / "profile")
    assert told["page"] == []
    assert "style" in "".join(told["styled"])
    assert "script" in "".join(told["script"])
