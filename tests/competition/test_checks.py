"""Ids that can't be folder names are refused, and files that are no plain tables."""

import bz2
import gzip
import io
import lzma
import zipfile

import pytest
from helpers.refusals import refused

from cspine.competition import checks


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1..2", "1.2\n", "1/2", "\u0661.2", ".1", "1.", "1" * 65, None, 1.2]
)
def test_unfit_uids_are_refused(uid):
    refused(lambda: checks.check_study_uid(uid), [repr(uid)])


TABLE = b"row_id,fractured\na,0.5\nb,0.25\n"


def read(path, **flags):
    return checks.read_text(path, ("row_id", "fractured"), **flags)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("submission.csv", TABLE)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["submission.csv", "submission.csv.gz", "submission.csv.zip", "a.csv.bz2", "a.xz"]
)
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(TABLE), "gzip"),
        (zipped(), "zip"),
        (bz2.compress(TABLE), "bzip2"),
        (lzma.compress(TABLE), "xz"),
        (b"\x28\xb5\x2f\xfd" + TABLE, "zstandard"),
    ],
    ids=["gzip", "zip", "bzip2", "xz", "zstandard"],  # the bytes hold the time: no name for a test
)
def test_a_compressed_file_is_refused_whatever_its_name(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    refused(lambda: read(path), [str(path), f"a {kind} file", "unpack it"])


@pytest.mark.parametrize("name", ["submission.csv.gz", "submission.csv.zip"])
def test_a_name_alone_proves_nothing(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TABLE)
    assert len(read(path)) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TABLE.decode().encode("utf-16"), ["UTF-16"]),
        (TABLE.replace(b"0.25", b"0.\x005"), ["zero bytes"]),
        (TABLE.replace(b"a,", b"\xff,"), ["unreadable"]),
        (TABLE.replace(b"a,0.5", b'"a,0.5'), ["unreadable"]),
        (TABLE.replace(b"0.25", b"0,25"), ["unreadable"]),
        (TABLE.replace(b"row_id,", b"row_id,row_id,"), ["row_id,row_id.1,fractured"]),
        (TABLE[:-2], ["no line break after the last line", "'b,0.2'", "cut"]),
        (TABLE[:-1], ["no line break after the last line", "'b,0.25'"]),
    ],
)
def test_what_is_no_whole_table_is_refused(tmp_path, content, words):
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    refused(lambda: read(path, must_end=True), [str(path), *words])


@pytest.mark.parametrize("content", [TABLE.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + TABLE, TABLE + b"\n\n"])
def test_windows_line_ends_a_byte_order_mark_and_empty_last_lines_are_fine(tmp_path, content):
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    frame = read(path, must_end=True)
    assert frame["fractured"].tolist() == ["0.5", "0.25"]


@pytest.mark.parametrize(
    "text",
    ["0_1", "\u0660.5", "\uff10.5", "0x1p-1", "nan", "inf", "-inf", "1e", ".", "", "0.5.1", "0.5a", "True", "\u00bd",
     "1e999"],
)  # fmt: skip
def test_what_only_python_takes_for_a_number_is_refused(tmp_path, text):
    path = tmp_path / "submission.csv"
    path.write_text(f"row_id,fractured\na,0.5\nb,{text}\n")
    frame = read(path)
    refused(lambda: checks.numbers(frame, "fractured", path, "row_id"), [str(path), f"'{text}'", "row_id b"])


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("5e-1", 0.5), (".5", 0.5), ("1.", 1), ("+0.5", 0.5), (" 0.5", 0.5)]
)
def test_every_way_to_write_a_decimal_number_is_read(tmp_path, text, number):
    path = tmp_path / "submission.csv"
    path.write_text(f"row_id,fractured\na,{text}\n")
    assert checks.numbers(read(path), "fractured", path, "row_id").tolist() == [number]


def test_a_refusal_names_the_first_few_rows_and_counts_them_all(tmp_path):
    path = tmp_path / "submission.csv"
    rows = "".join(f"row{number},{'x' if number % 2 else 0.5}\n" for number in range(20))
    path.write_text("row_id,fractured\n" + rows)
    frame = read(path)
    words = ["row_id row1, data row 2", "row_id row9, data row 10", "10 such rows"]
    message = refused(lambda: checks.numbers(frame, "fractured", path, "row_id"), words)
    assert "row11" not in message


def test_the_first_few_of_many_are_named_and_the_others_counted():
    assert checks.first_few(range(3)) == "0, 1, 2"
    assert checks.first_few(range(8)) == "0, 1, 2, 3, 4 and 3 more"
