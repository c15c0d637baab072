"""A table as text, CSV, Markdown or HTML. What is in it may come from a stranger's files, and is escaped."""

import csv
import dataclasses
import html
import io
import textwrap
from collections.abc import Iterable, Sequence

STYLE = """
body { font-family: system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; line-height: 1.45; }
h1, .settings td { overflow-wrap: anywhere; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 0.2rem 1.2rem 0.2rem 0; vertical-align: top; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; } td.number { white-space: nowrap; }
@media (max-width: 500px) { th, td { padding-right: 0.6rem; } }
.wide { overflow-x: auto; } .wide svg { min-width: 45rem; }
pre { background: #f4f4f4; padding: 0.8rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
.panels { display: grid; gap: 0.8rem; grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); }
.panels.large { grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
figure { margin: 0; } svg { width: 100%; height: auto; } .headline { font-size: 1.2rem; }
"""

LEAST = 20  # characters that a column of texts is folded into


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts below their names; the columns in `numbers` are set flush right."""

    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()

    def text(self, width: int | None = None) -> str:
        """Control characters are shown, not sent. A row is one line, or for a terminal of that `width` as many as the
        last column, if it is one of texts, needs in the room that the others leave."""
        lines = [[printable(cell) for cell in row] for row in (self.names, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

        def line(cells: Sequence[str]) -> str:
            parts = [
                cell.rjust(width) if name in self.numbers else cell.ljust(width)
                for cell, width, name in zip(cells, widths, self.names, strict=True)
            ]
            return "  ".join(parts).rstrip()

        left = sum(widths[:-1]) + 2 * len(widths[:-1])
        if width is None or width - left < LEAST or self.names[-1] in self.numbers:
            return "".join(line(cells) + "\n" for cells in lines)
        folded = [textwrap.wrap(cells[-1], width - left, break_long_words=False) or [""] for cells in lines]
        more = "\n" + " " * left
        return "".join(
            line([*cells[:-1], parts[0]]) + "".join(more + part for part in parts[1:]) + "\n"
            for cells, parts in zip(lines, folded, strict=True)
        )

    def markdown(self) -> str:
        """For a page of the documentation."""
        rule = ["--:" if name in self.numbers else "---" for name in self.names]
        rows = ([" ".join(cell.replace("|", "/").split()) for cell in row] for row in self.rows)
        head, *body = (f"| {' | '.join(cells)} |\n" for cells in (self.names, *rows))
        return f"{head}|{'|'.join(rule)}|\n{''.join(body)}"

    def html(self) -> str:
        """An element of a page that has `STYLE`."""
        kinds = [' class="number"' if name in self.numbers else "" for name in self.names]

        def line(tag: str, cells: Sequence[str]) -> str:
            parts = zip(kinds, cells, strict=True)
            return f"<tr>{''.join(f'<{tag}{kind}>{html.escape(cell)}</{tag}>' for kind, cell in parts)}</tr>"

        rows = "".join(line("td", row) for row in self.rows)
        return f'<div class="wide"><table>{line("th", self.names)}{rows}</table></div>'


def csv_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Values below their names, None as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def printable(text: str) -> str:
    """`text` without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
