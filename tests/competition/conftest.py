"""A competition of six studies, written by hand: small enough to work every figure out on paper."""

from pathlib import Path

import pytest

TYPES = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "patient_overall")
# study number -> fractured levels
TRAIN = {1: "", 2: "C2", 3: "C6 C7", 4: "", 5: "C7", 6: "C1 C2"}
TEST = {7: "C2", 8: "", 9: "C5 C6"}
PUBLIC = (7, 8)


def uid_of(number: int) -> str:
    return f"1.2.826.0.1.3680043.{number}"


def truth_of(levels: str) -> list[int]:
    return [int(kind in levels.split()) for kind in TYPES[:7]] + [int(bool(levels))]


def solution_rows() -> list[str]:
    rows = []
    for number, levels in TEST.items():
        for kind, value in zip(TYPES, truth_of(levels), strict=True):
            weight = (7 if kind == "patient_overall" else 1) * (1 + value)
            usage = "Public" if number in PUBLIC else "Private"
            rows.append(f"{uid_of(number)}_{kind},{value},{weight},{usage}")
    return rows


def long_rows(numbers, value: str) -> list[str]:
    return [f"{uid_of(number)}_{kind},{value}" for number in numbers for kind in TYPES]


def write_slices(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        (folder / f"{number}.dcm").write_bytes(b"")


def write_lines(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A whole competition folder: study n has n slices, two boxes, one mask, three test studies."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = []
    for number, levels in TRAIN.items():
        *seven, overall = truth_of(levels)
        rows.append(",".join(map(str, [uid_of(number), overall, *seven])))
        write_slices(folder / "train_images" / uid_of(number), number)
    write_lines(folder / "train.csv", "StudyInstanceUID,patient_overall," + ",".join(TYPES[:7]), rows)
    boxes = [f"{uid_of(2)},219.5,221.25,43.0,61.5,{number}" for number in (1, 2)]
    write_lines(folder / "train_bounding_boxes.csv", "StudyInstanceUID,x,y,width,height,slice_number", boxes)
    (folder / "segmentations").mkdir()
    (folder / "segmentations" / f"{uid_of(3)}.nii").write_bytes(b"")
    rows = [f"{uid_of(n)}_{kind},{uid_of(n)},{kind}" for n in TEST for kind in TYPES]
    write_lines(folder / "test.csv", "row_id,StudyInstanceUID,prediction_type", rows)
    write_lines(folder / "sample_submission.csv", "row_id,fractured", long_rows(TEST, "0.5"))
    for number in TEST:
        write_slices(folder / "test_images" / uid_of(number), 2)
    return folder


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "solution.csv", "row_id,fractured,weight,Usage", solution_rows())


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "submission.csv", "row_id,fractured", long_rows(TEST, "0.5"))
