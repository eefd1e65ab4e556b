"""Several acquisitions, reconstructions or UIDs in one folder: one scan is taken whole, never a mixture."""

import numpy as np
import pytest
from helpers.series import Slice, phantom, slices_of, write_series

from cspine.dicom.reader import read_series


def stacks(*kinds: dict, step: float = 1.0, shift: float = 0.0) -> list[Slice]:
    """Whole stacks at the same places under one SeriesInstanceUID, the files of all in turns."""
    made = []
    for number, tags in enumerate(kinds):
        slices = slices_of(phantom(seed=number))
        for index, one in enumerate(slices):
            x, y, z = one.position
            one.position = (x, y, z - shift * number)
            one.more = {key: value(index) if callable(value) else value for key, value in tags.items()}
        made.append(slices)
    return [one for same in zip(*made, strict=True) for one in same]


@pytest.mark.parametrize(
    "kinds",
    [
        [{"ConvolutionKernel": "B70"}, {"ConvolutionKernel": "B30"}],
        [{"SliceThickness": "1.0"}, {"SliceThickness": "2.0"}],
        [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}],
        [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, {"AcquisitionNumber": 3}],
        [{"SeriesNumber": 2}, {"SeriesNumber": 5}],
        [{"AcquisitionTime": "101010"}, {"AcquisitionTime": "101530"}],
        [{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}],
        [{"SOPInstanceUID": lambda n: f"1.2.3.{n + 1}"}, {"SOPInstanceUID": lambda n: f"1.2.4.{n + 1}"}],
        [{"ConvolutionKernel": "A", "AcquisitionNumber": n} for n in (1, 2)] + [{"ConvolutionKernel": "B"}],
    ],
)
def test_stacks_at_the_same_places_are_never_mixed(tmp_path, kinds):
    """One is taken whole, whichever; the other ones are named."""
    volume = read_series(write_series(tmp_path / "x", stacks(*kinds)))
    whole = [phantom(seed=number) for number in range(len(kinds))]
    assert any(np.array_equal(volume.hu, hu) for hu in whole), "slices of two stacks were mixed"
    assert "another acquisition or reconstruction under its UID" in " ".join(volume.notes)


def test_two_reconstructions_between_each_others_slices_are_never_mixed(tmp_path):
    kinds = [{"ConvolutionKernel": "B70"}, {"ConvolutionKernel": "B30"}]
    volume = read_series(write_series(tmp_path / "x", stacks(*kinds, shift=1.0)))
    assert any(np.array_equal(volume.hu, phantom(seed=number)) for number in (0, 1))


def test_an_acquisition_number_that_counts_rotations_parts_nothing(tmp_path):
    slices = slices_of(phantom())
    for index, one in enumerate(slices):
        one.more = {"AcquisitionNumber": 1 + index // 2, "AcquisitionTime": f"10101{index // 2}"}
    volume = read_series(write_series(tmp_path / "x", slices))
    np.testing.assert_array_equal(volume.hu, phantom())


def test_a_series_uid_for_each_slice_is_joined(tmp_path):
    slices = slices_of(phantom())
    for index, one in enumerate(slices):
        one.more = {"SeriesInstanceUID": f"1.2.{index}"}
    np.testing.assert_array_equal(read_series(write_series(tmp_path / "x", slices)).hu, phantom())


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "ConvolutionKernel"])
def test_two_acquisitions_whose_slices_have_a_series_uid_each(tmp_path, tag):
    slices = stacks(
        {tag: 1 if tag == "AcquisitionNumber" else "B70"}, {tag: 2 if tag == "AcquisitionNumber" else "B30"}
    )
    np.random.default_rng(3).shuffle(slices)
    for index, one in enumerate(slices):
        one.more["SeriesInstanceUID"] = f"1.2.{index}"
    volume = read_series(write_series(tmp_path / "x", slices))
    assert any(np.array_equal(volume.hu, phantom(seed=number)) for number in (0, 1)), volume.notes
