"""Exports at random: series with two traits or more each, over a tree; what is read is one of them, whole."""

import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from helpers.series import Slice, phantom, slices_of, write_slice
from pydicom.uid import ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from cspine.dicom.exams import IMAGES, ExamSeries, find_exams, lay_out
from cspine.dicom.reader import read_series
from cspine.errors import InputError

EXPORTS, SEEDS = 25, 12
SLICES = 10


@dataclass
class Made:
    """A series of an export as it is made, with what may become of it."""

    patient: str
    number: int
    random: random.Random
    scans: list[np.ndarray] = field(default_factory=list)
    """Any of which it may be read as."""
    slices: list[Slice] = field(default_factory=list)
    harmed: set[int] = field(default_factory=set)
    """Slices that can't be had from its files, by their number from the head."""
    modality: str = "CT"
    a_uid_each: bool = False
    copied: bool = False
    spread: bool = False
    suffix: str = ".dcm"
    cut: set[int] = field(default_factory=set)
    """Files that are cut off, by their place in `slices`."""

    @property
    def study(self) -> str:
        return f"1.2.{self.patient}"

    @property
    def uid(self) -> str:
        return f"{self.study}.{self.number}"

    def write(self, places: list[Path]) -> None:
        """Write its files to one of the places, or to all of them."""
        home = self.random.choice(places)
        for index, one in enumerate(self.slices):
            uid = f"{self.uid}.{index + 1}"
            one.more = {
                "PatientID": self.patient, "StudyInstanceUID": self.study, "Modality": self.modality,
                "SeriesInstanceUID": f"{uid}.0" if self.a_uid_each else self.uid, "SOPInstanceUID": uid,
                "InstanceNumber": index + 1, **one.more,
            }  # fmt: skip
            folder = self.random.choice(places) if self.spread else home
            file = write_slice(folder / f"P{self.patient}S{self.number}I{index}{self.suffix}", one, index + 1)
            if index in self.cut:
                content = file.read_bytes()
                file.write_bytes(content[: self.random.randrange(140, len(content) - 2)])
            elif self.copied:
                other = self.random.choice(places) / "again"
                other.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, other / file.name)


def another_acquisition(made: Made) -> None:
    """A second stack at the same places under the same UID, its files in between."""
    hu = phantom(seed=made.random.randrange(10**6))
    second = slices_of(hu)
    tags = made.random.choice(
        [("AcquisitionNumber", 1, 2), ("ConvolutionKernel", "B70", "B30"), ("SliceThickness", "1.0", "2.0")]
    )
    for one in made.slices:
        one.more[tags[0]] = tags[1]
    for one in second:
        one.more[tags[0]] = tags[2]
    made.slices = [one for pair in zip(made.slices, second, strict=True) for one in pair]
    made.scans.append(hu)


def a_uid_each(made: Made) -> None:
    made.a_uid_each = True


def a_capture(made: Made) -> None:
    """A picture of the screen, which lies nowhere in the patient."""
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    made.slices.append(Slice(np.full((24, 20), 99), (0, 0, 0), more=nowhere))


def a_colour_capture(made: Made) -> None:
    """A picture in colour, with a place of its own."""
    picture = np.zeros((24, 20), np.uint8)
    colour = {
        "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8,
        "BitsStored": 8, "HighBit": 7, "PixelData": bytes(24 * 20 * 3),
    }  # fmt: skip
    made.slices.append(Slice(picture, (-20, -30, 99), signed=False, more=colour))


def a_report(made: Made) -> None:
    """An object of the series that has no pixels."""
    nothing = dict.fromkeys(
        ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient")
    )
    made.slices.append(Slice(np.zeros((4, 4)), (0, 0, 0), more=nothing))


def numbers_that_say_nothing(made: Made) -> None:
    """InstanceNumber is the same everywhere, or missing."""
    number = made.random.choice([1, None])
    for one in made.slices:
        one.more["InstanceNumber"] = number


def an_intercept_each(made: Made) -> None:
    """RescaleIntercept differs from slice to slice, and so do the stored values."""
    for one in made.slices:
        more = made.random.randrange(50)
        one.pixels, one.intercept = one.pixels + more, (one.intercept or 0.0) - more


def a_localizer(made: Made) -> None:
    made.slices.append(Slice(np.full((40, 40), 7), (-20, 0, 100), orientation=(1, 0, 0, 0, 0, -1)))


def without_a_place(made: Made) -> None:
    """A slice without ImagePositionPatient."""
    z, one = made.random.choice(list(enumerate(made.slices[: SLICES * len(made.scans)])))
    one.more["ImagePositionPatient"] = None
    made.harmed.add(z // len(made.scans))


def bytes_behind(made: Made) -> None:
    for one in made.slices:
        if one.syntax == Slice(one.pixels, one.position).syntax:
            one.more["PixelData"] = one.pixels.astype("<i2").tobytes() + b"\0" * 64


def another_syntax(made: Made) -> None:
    syntax = made.random.choice([ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless])
    for one in made.slices:
        if "PixelData" not in one.more:
            one.syntax = syntax


def from_the_feet(made: Made) -> None:
    made.slices.reverse()


def shuffled(made: Made) -> None:
    made.random.shuffle(made.slices)


def a_gap(made: Made) -> None:
    z = made.random.randrange(1, SLICES - 1)
    at = sorted({one.position[2] for one in made.slices[: SLICES * len(made.scans)]}, reverse=True)[z]
    made.slices = [one for one in made.slices if one.position[2] != at]
    made.harmed.add(z)


def a_file_cut_off(made: Made) -> None:
    index = made.random.randrange(len(made.slices))
    made.cut.add(index)
    heights = sorted({one.position[2] for one in slices_of(made.scans[0])}, reverse=True)
    if made.slices[index].position[2] in heights:
        made.harmed.add(heights.index(made.slices[index].position[2]))


def another_modality(made: Made) -> None:
    made.modality = made.random.choice(["MR", "PT", "OT"])


def copied(made: Made) -> None:
    made.copied = True


def spread(made: Made) -> None:
    made.spread = True


def no_suffix(made: Made) -> None:
    made.suffix = ""


FIRST: list[Callable[[Made], None]] = [
    another_acquisition, an_intercept_each, without_a_place, a_gap, numbers_that_say_nothing, bytes_behind,
]  # fmt: skip
"""Traits of slices, in this order, since each looks at where they lie."""
THEN = [
    another_syntax,
    a_capture,
    a_colour_capture,
    a_report,
    a_localizer,
    from_the_feet,
    shuffled,
    a_file_cut_off,
]
FILES = [a_uid_each, another_modality, copied, spread, no_suffix]
TRAITS = [*FIRST, *THEN, *FILES]


def some_traits(rng: random.Random) -> list[Callable[[Made], None]]:
    """Two to four of them, in the order in which they are applied."""
    chosen = rng.sample(TRAITS, rng.randint(2, 4))
    return [one for one in TRAITS if one in chosen]


def make_export(root: Path, rng: random.Random) -> list[Made]:
    """Write one to three patients with one or two series each."""
    places = [root / "a b", root / "a b" / "DICOM" / "(1)", root / "é", root]
    all_made = []
    for patient in range(rng.randint(1, 3)):
        for number in range(rng.randint(1, 2)):
            hu = phantom((SLICES, 24, 20), seed=rng.randrange(10**6))
            made = Made(str(patient + 1), number + 1, rng, [hu], slices_of(hu))
            for trait in some_traits(rng):
                trait(made)
            made.write(places)
            all_made.append(made)
    if rng.random() < 0.5:
        (root / "report.pdf").write_bytes(b"%PDF")
        (root / "DICOMDIR").write_bytes(bytes(200))
    return all_made


def judge(series: ExamSeries, all_made: list[Made], folder: Path) -> None:
    """What is read of a series is one scan of one of its own, whole but for what its files have lost."""
    mine = [
        made
        for made in all_made
        if made.study == series.study
        and (made.a_uid_each if not series.series else made.uid == series.series)
    ]
    if series.modality not in IMAGES or not mine:
        assert not mine or any(made.modality == series.modality or made.cut for made in mine)
        return
    lay_out(series, folder)
    try:
        volume = read_series(folder)
    except InputError as error:
        harmless = len(mine) == 1 and not mine[0].harmed and not mine[0].cut and len(mine[0].scans) == 1
        assert not harmless, f"refused, though nothing is wrong: {error}"
        assert len(str(error)) > 20 and "Traceback" not in str(error)
        return
    planes = {
        plane.tobytes(): (number, which, z)
        for number, made in enumerate(all_made)
        for which, hu in enumerate(made.scans)
        for z, plane in enumerate(hu)
    }
    seen = [planes.get(plane.tobytes()) for plane in volume.hu]
    known = [one for one in seen if one is not None]
    assert known, "nothing of what was read is what was written"
    number, which, _ = known[0]
    made = all_made[number]
    assert made in mine, "another series was read"
    assert all(one[:2] == (number, which) for one in known), "slices of two scans were mixed"
    heights = [one[2] for one in known]
    assert heights == sorted(set(heights)), "slices are out of order, or twice"
    if not made.harmed or "interpolated" not in " ".join(volume.notes):
        assert len(known) >= SLICES - len(made.harmed) and len(seen) - len(known) <= len(made.harmed), (
            "slices were lost or made up"
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_series_of_an_export_is_read_whole_or_refused_with_a_reason(tmp_path, seed):
    rng = random.Random(seed)
    for number in range(EXPORTS):
        root = tmp_path / str(number)
        root.mkdir()
        all_made = make_export(root, rng)
        place = root
        if rng.random() < 0.2:
            place = tmp_path / f"{number}.zip"
            with zipfile.ZipFile(place, "w") as archive:
                for file in sorted(root.rglob("*")):
                    archive.write(file, file.relative_to(root))
        found = find_exams(place, tmp_path / f"{number} unpacked").series
        for made in all_made:
            theirs = [one for one in found if one.study == made.study]
            assert any(one.series in ("", made.uid) or made.a_uid_each for one in theirs), "a series is lost"
        for at, series in enumerate(found):
            try:
                judge(series, all_made, tmp_path / f"{number} laid out" / str(at))
            except AssertionError as error:
                raise AssertionError(f"export {number}, series {series.series}: {error}") from error


def test_all_traits_are_tried():
    """As many exports as this have every two traits together."""
    pairs = set()
    rng = random.Random(0)
    for _ in range(EXPORTS * SEEDS):
        for _ in range(rng.randint(1, 3) * rng.randint(1, 2)):
            chosen = some_traits(rng)
            pairs |= {frozenset((one, other)) for one in chosen for other in chosen if one is not other}
    assert len(pairs) == len(TRAITS) * (len(TRAITS) - 1) // 2
