"""One HTML page that stands alone, good on a desk and on a phone: sentences, tables, lists, pictures in panels."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cspine import storage
from cspine.evaluation.figures import png

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2.2rem;
border-bottom: 1px solid #ddd; } p, li { max-width: 50rem; overflow-wrap: anywhere; }
.headline { font-size: 1.1rem; border-left: 4px solid #444; padding-left: .8rem; }
.wide { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
figure { margin: 1.2rem 0; } figcaption { color: #444; font-size: .9rem; overflow-wrap: anywhere; }
.panels { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start; }
.panels img { flex: 0 1 auto; max-width: 100%; height: auto; min-width: 0; }
.row { flex-wrap: nowrap; }
@media (max-width: 700px) {
.panels { flex-direction: column; } .panels img { max-height: 24rem; width: auto; }
table, caption, tbody, tr { display: block; } thead { display: none; } tr { border-bottom: 2px solid #ccc; }
td, td:first-child { display: flex; justify-content: space-between; gap: 1rem; white-space: normal; }
td { padding: .2rem .3rem; } td:first-child { font-weight: 600; } td::before { content: attr(data-label); }
td::before { font-weight: 400; color: #555; text-align: left; } }
"""
LEVEL_LIST = r"((?:#% of )?[CT]#(?: #)?)(?:, (?:#% of )?[CT]#(?: #)?)+"
"""Levels with their figures, such as `C# #, T# #`, once `#` stands for every number."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """One or more panels under one caption; on a narrow page they stand below each other."""

    caption: str
    panels: Sequence[Figure]
    in_a_row: bool = False
    """Whether a wide page shows all panels beside each other, however many there are."""


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what they speak of."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    items: Sequence[str] = ()
    """A list."""
    pictures: Sequence[Picture] = ()


def write_page(path: Path, title: str, headline: str, sections: Sequence[Section]) -> None:
    """Write the page; it stands alone, pictures included.

    Parameters
    ----------
    path : Path
        The HTML file.
    title : str
        The page's title and first heading.
    headline : str
        What a reader in a hurry should know.
    sections : sequence of Section
        What the page shows, in this order.
    """
    parts = [_section(section) for section in sections]
    page = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>\n"
        f"<p class='headline'>{html.escape(headline)}</p>\n{''.join(parts)}</body></html>\n"
    )
    storage.write_text(path, page)


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>\n"]
    parts += [f"<p>{html.escape(words)}</p>\n" for words in section.paragraphs]
    parts += [_table(table) for table in section.tables]
    if section.items:
        items = "".join(f"<li>{html.escape(item)}</li>\n" for item in section.items)
        parts.append(f"<ul>\n{items}</ul>\n")
    parts += [_picture(picture) for picture in section.pictures]
    return "".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in table.head)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td data-label='{html.escape(name)}'>{html.escape(cell)}</td>"
            for name, cell in zip(table.head, row, strict=True)
        )
        + "</tr>\n"
        for row in table.rows
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    return f"<div class='wide'><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"


def _picture(picture: Picture) -> str:
    words, images = html.escape(picture.caption), []
    kind = "panels row" if picture.in_a_row else "panels"
    for number, figure in enumerate(picture.panels):
        content = png(figure)
        width = int.from_bytes(content[16:20], "big")  # PNG's header
        alt = words if number == 0 else f"{words}, panel {number + 1}"
        source = base64.b64encode(content).decode()
        images.append(f"<img src='data:image/png;base64,{source}' width='{width}' alt='{alt}'>")
    return f"<figure><div class='{kind}'>{''.join(images)}</div><figcaption>{words}</figcaption></figure>\n"


def count_notes(notes: pd.Series) -> list[str]:
    """Count how many studies have each kind of note, whatever its figures and levels.

    Parameters
    ----------
    notes : Series of str
        One text a study, its notes with "; " between them.

    Returns
    -------
    list of str
        Sentences, the most frequent note first.
    """
    kinds = notes.str.replace(r"\d+(\.\d+)?", "#", regex=True)
    kinds = kinds.str.replace(LEVEL_LIST, r"\1, ...", regex=True)
    # a study counts once for a kind, however often it has that note
    every = [kind for study in kinds for kind in dict.fromkeys(study.split("; "))]
    counts = pd.Series(every, dtype=object).value_counts()
    return [f"{count} x {note}" for note, count in counts.items()]
