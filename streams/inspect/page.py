"""A page of HTML for people outside: one file that loads nothing, runs nothing and shows hostile text as text.

The policy in its head allows the one style sheet, by its hash, and nothing else: no script, image, font, link target
or form. So even markup that got past `shown` could do nothing.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Fills are of the Okabe-Ito palette, which colour-blind people tell apart; each has a contrast of 3.3 or more on both
# backgrounds, and the texts of 6 or more (WCAG 2.2 asks for 3 and 4.5).
STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --text: #1b1d21; --dim: #5a5f68; --line: #c9cdd4; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181c; --text: #e8e9eb; --dim: #a5abb5; --line: #454a53; }
}
@media print { :root { --back: #ffffff; --text: #000000; --dim: #444444; --line: #999999; } }
@page { size: A4; margin: 18mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--back); color: var(--text);
       font: 16px/1.5 system-ui, sans-serif; print-color-adjust: exact; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
h1, p, li, dt, dd { overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: fit-content(18rem) minmax(0, 1fr); gap: .1rem 1rem; margin: .5rem 0; }
dt, .dim { color: var(--dim); } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; font-size: .9rem; }
tbody th { white-space: nowrap; }
caption { text-align: left; color: var(--dim); }
th, td { text-align: left; vertical-align: top; padding: .15rem .75rem .15rem 0; border-bottom: 1px solid var(--line);
         overflow-wrap: anywhere; }
thead th { overflow-wrap: normal; } td:not(.number) { min-width: 5.5rem; }
.number { text-align: right; }
code { font: .85rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
h1, td, dd, code { direction: ltr; unicode-bidi: isolate-override; }
mark { background: none; color: inherit; border: 1px solid var(--dim); border-radius: 3px; padding: 0 .15em; }
article, figure { margin: 0; break-inside: avoid-page; }
article { border-top: 1px solid var(--line); overflow: hidden; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
svg line { stroke: var(--line); } svg rect { stroke: var(--back); }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.first { fill: #0072b2; } .second { fill: #d55e00; } .third { fill: #009e73; }
@media print { body { padding: 0; max-width: none; font-size: 10pt; } .wide { overflow: visible; }
               tr { break-inside: avoid; } thead { display: table-header-group; } }
"""
_STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page; `title` is text, `parts` are HTML."""
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="referrer" content="no-referrer">',
    )
    body = ("<main>", f"<h1>{shown(title)}</h1>", *parts, "</main>")
    return document(title, (*head, f"<style>{STYLE}</style>"), body)


def document(title: str, head: Iterable[str], body: Iterable[str]) -> str:
    """Return a document in English of a title, which is text, and of what its head and body hold, which is HTML."""
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{shown(title, marked=False)}</title>",
            *head,
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        )
    )


def shown(text: object, *, marked: bool = True) -> str:
    """Return text as HTML; what can't be seen, or would turn the direction of its line, as its code point."""
    return "".join(escape(c) if c.isprintable() else _code_point(c, marked=marked) for c in str(text))


def _code_point(character: str, *, marked: bool) -> str:
    name = f"U+{ord(character):04X}"
    return f"<mark>{name}</mark>" if marked else name


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of text; the first column names the row, numbers stand to the right."""
    head = "".join(f'<th scope="col">{shown(name)}</th>' for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{shown(first)}</th>'
        + "".join(f"<td{_aligned(cell)}>{_cell(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table><caption>{shown(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _aligned(cell: object) -> str:
    return ' class="number"' if cell is None or isinstance(cell, int | float) else ""


def _cell(cell: object) -> str:
    return "none" if cell is None else f"{cell:,}" if isinstance(cell, int | float) else shown(cell)


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return names with their values."""
    return "<dl>" + "".join(f"<dt>{shown(name)}</dt><dd>{_cell(value)}</dd>" for name, value in pairs) + "</dl>"
