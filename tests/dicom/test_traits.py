import numpy as np
import pydicom
import pytest
from helpers.series import SPACING_MM, phantom, slices_of, write_series

from cspine.dicom.traits import FEET_FIRST, HEAD_FIRST, UNKNOWN, read_table, read_traits, table_of_traits
from cspine.errors import InputError


def study(folder, shape=(6, 24, 20), **fields):
    return write_series(folder, slices_of(phantom(shape), **fields))


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in ("1.2.3", "1.2.4", "1.2.5", "1.2.6"):
        (tmp_path / "images" / name).mkdir(parents=True)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"])
def test_a_scan_is_what_its_headers_say(tmp_path, syntax):
    found = read_traits(study(tmp_path / "images" / "1.2.3", syntax=syntax))
    assert (found.StudyInstanceUID, found.slices, found.rows, found.columns) == ("1.2.3", 6, 24, 20)
    assert found.direction == HEAD_FIRST and found.step_mm == pytest.approx(SPACING_MM[0], abs=1e-4)
    assert found.pixel_mm == pytest.approx(SPACING_MM[1], abs=1e-4)
    assert found.syntax == pydicom.uid.UID(syntax).name


def test_direction_is_that_of_the_file_numbers(tmp_path):
    turned = write_series(tmp_path / "images" / "1.2.3", slices_of(phantom((6, 24, 20)))[::-1])
    assert read_traits(turned).direction == FEET_FIRST
    one = write_series(tmp_path / "images" / "1.2.4", slices_of(phantom((1, 24, 20))))
    assert (read_traits(one).direction, read_traits(one).step_mm) == (UNKNOWN, None)


def test_broken_files_at_the_ends_are_passed_over_and_a_broken_study_is_unknown(tmp_path):
    folder = study(tmp_path / "images" / "1.2.3")
    (folder / "1.dcm").write_bytes(b"broken")
    (folder / "6.dcm").write_bytes(b"")
    assert read_traits(folder).rows == 24 and read_traits(folder).direction == HEAD_FIRST
    for path in folder.iterdir():
        path.write_bytes(b"broken")
    found = read_traits(folder)
    assert (found.slices, found.rows, found.header_uid) == (6, None, "")
    assert found.direction == found.syntax == UNKNOWN
    assert read_traits(tmp_path / "images" / "1.2.4").slices == 0


def test_the_table_is_made_once_and_anew_for_other_studies(tmp_path):
    for name in ("1.2.3", "1.2.4", "1.2.5"):
        study(tmp_path / "images" / name)
    path, uids = tmp_path / "traits.csv", ["1.2.5", "1.2.3", "9.9"]
    found = table_of_traits(path, tmp_path / "images", uids)
    assert found.index.tolist() == ["1.2.5", "1.2.3"] and (found["rows"] == 24).all()
    before = path.stat().st_mtime_ns
    again = table_of_traits(path, tmp_path / "images", uids[::-1])
    assert again.index.tolist() == ["1.2.3", "1.2.5"] and path.stat().st_mtime_ns == before
    more = table_of_traits(path, tmp_path / "images", [*uids, "1.2.4"])
    assert len(more) == 3 and len(read_table(path)) == 3


def test_without_scans_there_are_no_traits(tmp_path):
    assert len(table_of_traits(tmp_path / "traits.csv", tmp_path / "none", ["1.2.3"])) == 0
    assert not (tmp_path / "traits.csv").exists()
    with pytest.raises(InputError, match="make describe"):
        read_table(tmp_path / "traits.csv")


def test_an_unreadable_study_stays_in_the_table(tmp_path):
    study(tmp_path / "images" / "1.2.3")
    found = table_of_traits(tmp_path / "traits.csv", tmp_path / "images", ["1.2.3", "1.2.6"])
    assert np.isnan(found.loc["1.2.6", "rows"]) and found.loc["1.2.6", "direction"] == UNKNOWN
