"""One HTML page that stands alone: headings, sentences, text as it is, pictures."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cspine import storage
from cspine.evaluation.figures import png

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 13px; line-height: 1.35; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .9rem; }
"""
LEVEL_LIST = r"((?:#% of )?[CT]#(?: #)?)(?:, (?:#% of )?[CT]#(?: #)?)+"
"""Levels with their figures, such as `C# #, T# #`, once `#` stands for every number."""


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what they speak of."""

    title: str
    text: str = ""
    block: str = ""
    """Plain text shown as it is."""
    pictures: tuple[tuple[str, Figure], ...] = ()
    """(caption, figure)"""


def write_page(path: Path, title: str, sections: list[Section]) -> None:
    """Write the page; it stands alone, pictures included.

    Parameters
    ----------
    path : Path
        The HTML file.
    title : str
        The page's title and first heading.
    sections : list of Section
        What the page shows, in this order.
    """
    parts = [_section(section) for section in sections]
    page = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>\n{''.join(parts)}</body></html>\n"
    )
    storage.write_text(path, page)


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>\n"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>\n")
    if section.block:
        parts.append(f"<pre>{html.escape(section.block)}</pre>\n")
    for caption, figure in section.pictures:
        picture = base64.b64encode(png(figure)).decode()
        words = html.escape(caption)
        parts.append(
            f"<figure><img src='data:image/png;base64,{picture}' alt='{words}'>"
            f"<figcaption>{words}</figcaption></figure>\n"
        )
    return "".join(parts)


def count_notes(notes: pd.Series) -> list[str]:
    """Count how many studies have each kind of note, whatever its figures and levels.

    Parameters
    ----------
    notes : Series of str
        One text a study, its notes with "; " between them.

    Returns
    -------
    list of str
        Lines of text, the most frequent note first.
    """
    kinds = notes.str.replace(r"\d+(\.\d+)?", "#", regex=True)
    kinds = kinds.str.replace(LEVEL_LIST, r"\1, ...", regex=True)
    # a study counts once for a kind, however often it has that note
    every = [kind for study in kinds for kind in dict.fromkeys(study.split("; "))]
    counts = pd.Series(every, dtype=object).value_counts()
    return [f"  {count} x {note}" for note, count in counts.items()]
