import base64
import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from cspine.evaluation.page import Picture, Section, Table, count_notes, write_page


class Page(HTMLParser):
    """What a browser would make of the page: texts by tag, sources of pictures, tags that load something."""

    def __init__(self, text: str):
        super().__init__()
        self.texts, self.pictures, self.links, self.tags = {}, [], [], ["page"]
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if tag == "img" and name == "src":
                self.pictures.append(value)
            elif name in ("src", "href"):
                self.links.append(value)

    def handle_data(self, data):
        if data.strip():
            self.texts.setdefault(self.tags[-1], []).append(data)


def figure(value: float) -> Figure:
    made = Figure(figsize=(2, 2))
    made.subplots().imshow(np.full((4, 4), value), vmin=0, vmax=1)
    return made


def test_the_report_is_one_page_that_stands_alone(tmp_path):
    sections = [
        Section(
            "Scores <b>", ("5 < 6 & 7", "more"), [Table(("a", "b<"), [("1 < 2", "x & y")], "what <it> is")]
        ),
        Section(
            "Pictures",
            items=["one & only"],
            pictures=[
                Picture("it's <one>", [figure(0.0), figure(1.0)]),
                Picture("two & a half", [figure(0.5)]),
            ],
        ),
    ]
    write_page(tmp_path / "report.html", "A <script>alert(1)</script> & more", "in <short>", sections)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and "b" not in page.tags and "one" not in page.tags
    assert page.texts["title"] == ["A <script>alert(1)</script> & more"]
    assert page.texts["h1"] == ["A <script>alert(1)</script> & more"]
    assert page.texts["h2"] == ["Scores <b>", "Pictures"]
    assert page.texts["p"] == ["in <short>", "5 < 6 & 7", "more"]
    assert (page.texts["caption"], page.texts["th"], page.texts["td"]) == (
        ["what <it> is"], ["a", "b<"], ["1 < 2", "x & y"],
    )  # fmt: skip
    assert page.texts["li"] == ["one & only"]
    assert page.texts["figcaption"] == ["it's <one>", "two & a half"]
    assert page.links == []
    pixels = []
    for source in page.pictures:
        start = "data:image/png;base64,"
        assert source.startswith(start)
        image = Image.open(io.BytesIO(base64.b64decode(source[len(start) :], validate=True)))
        assert image.format == "PNG" and f"width='{image.width}'" in text
        pixels.append(np.asarray(image))
    assert len(pixels) == 3 and not np.array_equal(pixels[0], pixels[1])


def test_a_narrow_page_has_its_viewport_and_names_each_cell(tmp_path):
    """Below 700 px a table's head is gone: each cell carries its column's name."""
    write_page(
        tmp_path / "report.html",
        "t",
        "h",
        [Section("s", tables=[Table(("set", "gain"), [("public", "3 %")])])],
    )
    text = (tmp_path / "report.html").read_text()
    assert "<meta name='viewport' content='width=device-width, initial-scale=1'>" in text
    assert "max-width: 700px" in text and "attr(data-label)" in text
    assert "<td data-label='gain'>3 %</td>" in text


def test_panels_that_belong_together_stay_in_a_row(tmp_path):
    pictures = [Picture("one", [figure(0.0)] * 5, in_a_row=True), Picture("two", [figure(0.0)] * 8)]
    write_page(tmp_path / "report.html", "t", "h", [Section("s", pictures=pictures)])
    text = (tmp_path / "report.html").read_text()
    assert text.count("<div class='panels row'>") == 1 and text.count("<div class='panels'>") == 1


def test_empty_parts_leave_no_traces(tmp_path):
    write_page(tmp_path / "report.html", "bare", "headline", [Section("Nothing")])
    page = Page((tmp_path / "report.html").read_text())
    assert not {"pre", "figure", "img", "ul", "table"} & set(page.tags)
    assert page.texts["p"] == ["headline"]


def test_notes_are_counted_by_kind_whatever_their_figures_and_levels():
    notes = ["12 strays removed (C1 3, T2 9); 5 boxes left out", "7 strays removed (C4 1, C5 2, T1 4)",
             "3 boxes left out; 4 boxes left out", "C2 is 61.5 mm high"]  # fmt: skip
    assert count_notes(pd.Series(notes)) == [
        "2 x # strays removed (C# #, ...)",
        "2 x # boxes left out",
        "1 x C# is # mm high",
    ]
    assert count_notes(pd.Series([], dtype=str)) == []
