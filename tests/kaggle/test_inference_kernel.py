"""The inference kernel's script as Kaggle starts it, and everything that may go wrong there."""

import copy
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from helpers.kaggle_folders import RERUN, ROOT, SCRIPT, Kaggle
from helpers.scans import replica_scan
from helpers.series import Slice, write_series

from cspine.competition.labels import PREDICTION_TYPES, PUBLISHED, SLUG
from cspine.competition.metric import best_constants
from cspine.kaggle.bundle import assemble_code, assemble_models
from cspine.kaggle.marker import MODELS


@pytest.fixture(autouse=True)
def not_the_scoring_run(monkeypatch):
    monkeypatch.delenv(RERUN, raising=False)


@pytest.fixture
def kaggle(competition, own_run, tmp_path) -> Kaggle:
    inputs, working = tmp_path / "input", tmp_path / "working"
    working.mkdir()
    data, mine = inputs / "competitions" / SLUG, inputs / "datasets" / "me"
    shutil.copytree(competition, data, symlinks=False)
    assemble_code(mine / "cspine-code")
    assemble_models(own_run, mine / "cspine-models")
    return Kaggle(inputs, working, data, mine / "cspine-code", mine / "cspine-models")


def nan_in(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:] = np.full(1024, math.nan, np.float32).tobytes()
    path.write_bytes(content)


def without_sums(kaggle: Kaggle) -> None:
    """A list that tells nothing: the probe alone is left to find what is wrong."""
    (kaggle.models / MODELS).write_text('{"files": {}}')


@dataclass
class Case:
    """Something that goes wrong, and what is left."""

    harm: Callable[[Kaggle], object]
    predicted: int
    says: str
    """In the log."""


def _sample(kaggle: Kaggle, change: Callable[[str], str]) -> None:
    path = kaggle.data / "sample_submission.csv"
    path.write_bytes(change(path.read_text()).encode())


CASES = {
    "NaN in a fold's weights": Case(lambda k: nan_in(k.weights(0)), 2, "left out classifier/fold0"),
    "the same, and no checksums": Case(
        lambda k: (nan_in(k.weights(0)), without_sums(k)), 2, "its answer to a probe is not finite"
    ),
    "a fold cut": Case(lambda k: os.truncate(k.weights(1), 1000), 2, "left out classifier/fold1"),
    "a fold deleted": Case(lambda k: k.weights(1).unlink(), 2, "the file is missing"),
    "a locator's fold damaged": Case(lambda k: nan_in(k.weights(0, "locator")), 2, "left out locator/fold0"),
    "every fold damaged": Case(lambda k: [nan_in(k.weights(f)) for f in (0, 1)], 0, "no fold can be used"),
    "no calibration": Case(
        lambda k: (k.models / "models" / "calibration.json").unlink(), 2, "without the calib"
    ),
    "no code": Case(lambda k: shutil.rmtree(k.code / "src"), 0, "ended with 1"),
    "no code attached": Case(lambda k: shutil.rmtree(k.code), 0, "attach the dataset with the code"),
    "no models attached": Case(lambda k: shutil.rmtree(k.models), 0, "attach the dataset with the models"),
    "a wheel cut": Case(
        lambda k: (
            (k.code / "wheels").mkdir(),
            (k.code / "wheels" / "x-1-py3-none-any.whl").write_text("x"),
        ),
        2,
        "wheel x-1-py3-none-any.whl can't be installed",
    ),
    "a list that is no JSON": Case(lambda k: (k.models / MODELS).write_text("{"), 2, "PROBLEM"),
    "a row that is no UID": Case(
        lambda k: _sample(k, lambda text: text + "../../etc/x_C1,0.5\nstrange,0.5\n"),
        2,
        "constants for study ../..",
    ),
    "a gigabyte of memory": Case(
        lambda k: (k.code / "src" / "sitecustomize.py").write_text(
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2 << 29, 2 << 29))\n"
        ),
        0,
        "PROBLEM",
    ),
}
"""What may go wrong on Kaggle."""


@pytest.mark.parametrize("name", CASES)
def test_a_valid_submission_is_left_and_the_exit_code_is_true(kaggle, name):
    case = CASES[name]
    case.harm(kaggle)
    code, said = kaggle.run()
    assert (code, case.says in said) == (1, True), said
    rows = kaggle.rows()
    predicted = len(set(rows["fractured"].round(6)) - set(constants_of(kaggle)))
    assert (predicted > 0) == (case.predicted > 0), said
    if (kaggle.working / "inference.json").is_file():
        assert kaggle.report()["predicted"] == case.predicted


def constants_of(kaggle: Kaggle) -> set[float]:
    """All values that a study on constants may have."""
    published = best_constants(PUBLISHED["train"].rates())
    own = [0.1 + 0.05 * level for level in range(8)]
    means = [float(np.mean(one)) for one in (published, own)]
    return {round(float(value), digits) for value in (*published, *own, *means) for digits in (4, 6)}


@pytest.mark.parametrize(
    "name", ["NaN in a fold's weights", "every fold damaged", "no code", "no models attached"]
)
def test_the_scoring_run_ends_with_0_whatever_happens(kaggle, name):
    CASES[name].harm(kaggle)
    code, said = kaggle.run(scored=True)
    assert code == 0 and CASES[name].says.replace("ended with 1", "ended with") in said
    kaggle.rows()


def test_all_is_well_with_odd_tables_and_warnings_as_errors(kaggle):
    _sample(kaggle, lambda text: "\ufeff" + "\r\n".join(text.splitlines()) + "\r\n")
    code, said = kaggle.run(PYTHONWARNINGS="error")
    assert code == 0, said
    kaggle.rows()
    assert kaggle.report()["rehearsal"]["studies"] >= 2
    assert kaggle.reasons() == {} and "hours_for_1093_studies" in said


def test_without_nibabel_it_predicts(kaggle):
    (kaggle.code / "src" / "nibabel.py").write_text("raise ImportError('not in this image')")
    code, said = kaggle.run()
    assert code == 0, said


def test_visible_rows_without_folders_are_rehearsed_on_training_studies(kaggle, studies):
    shutil.rmtree(kaggle.data / "test_images")
    code, said = kaggle.run()
    rehearsal = kaggle.report()["rehearsal"]
    assert rehearsal["studies"] == rehearsal["of_them_from_train_images"] >= 2, said
    assert code == (1 if rehearsal["on_constants"] > 0.1 * rehearsal["studies"] else 0)
    assert set(kaggle.reasons()) >= set(studies)
    assert "STUDIES ARE ON CONSTANTS" in said


def test_a_process_that_dies_with_a_study_is_started_again(kaggle, studies):
    """kill -9 of everything that predicts, once; then the same at every study."""
    (kaggle.code / "src" / "sitecustomize.py").write_text(DIES)
    once = kaggle.working.parent / "once"
    code, said = kaggle.run(DIES_UNLESS=str(once))
    assert code == 1 and "killed by signal SIGKILL" in said, said
    assert kaggle.report()["predicted"] == 2
    code, said = kaggle.run(DIES_UNLESS="/proc/none/file", scored=True)
    assert code == 0, said
    kaggle.rows()
    assert set(kaggle.reasons()) == set(studies)


DIES = """
import os, sys
import threading, time

def watch():
    while True:
        ensemble = sys.modules.get("cspine.inference.ensemble")
        if ensemble is not None and hasattr(ensemble, "Ensemble"):
            def die(self, hu, locate=ensemble.Ensemble.locate):
                if os.path.exists(os.environ["DIES_UNLESS"]):
                    return locate(self, hu)
                try:
                    open(os.environ["DIES_UNLESS"], "w").close()
                except OSError:
                    pass
                os.kill(os.getpid(), 9)
            ensemble.Ensemble.locate = die
            return
        time.sleep(0.01)

if "DIES_UNLESS" in os.environ:
    threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.parametrize("scored", [False, True])
def test_sigterm_leaves_what_there_is(kaggle, scored):
    process = kaggle.start(scored)
    for line in process.stdout:
        if "where time runs short" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (0 if scored else 1), said
    kaggle.rows()
    assert (kaggle.working / "fallbacks.csv").is_file()


@pytest.mark.parametrize("scored", [False, True])
def test_a_closed_stdout_costs_nothing(kaggle, scored):
    process = kaggle.start(scored)
    process.stdout.close()
    assert process.wait(300) == 0
    kaggle.rows()
    assert kaggle.report()["predicted"] == 2


def children(process: int) -> list[int]:
    """Process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_the_process_that_holds_the_results_may_be_killed_too(kaggle, studies):
    process = kaggle.start()
    kept = kaggle.working / ".answers.jsonl"
    while not (kept.is_file() and kept.read_text().count("\n")):
        time.sleep(0.02)
        assert process.poll() is None
    os.kill(children(process.pid)[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "killed by signal 9, start 1 of 3" in said
    kaggle.rows()
    assert kaggle.report()["predicted"] == 2
    assert not kept.exists()
    logits = pd.read_csv(kaggle.working / "fold_logits.csv", dtype={"StudyInstanceUID": str})
    assert logits["StudyInstanceUID"].value_counts().to_dict() == dict.fromkeys(studies, 2)


def test_a_study_that_takes_its_process_down_costs_only_itself(kaggle, studies):
    (kaggle.code / "src" / "sitecustomize.py").write_text(DIES_WITH)
    code, said = kaggle.run(DIES_WITH=studies[0])
    assert code == 1, said
    assert kaggle.reasons() == {studies[0]: "its process died 2 times"}
    assert kaggle.report()["predicted"] == 1


DIES_WITH = """
import json, os, sys, threading, time
from pathlib import Path

def watch():
    while True:
        studies = sys.modules.get("cspine.inference.studies")
        if studies is not None and hasattr(studies, "load_volume"):
            def die(folder, load=studies.load_volume):
                if json.loads((Path(folder) / "volume.json").read_text())["study"] == os.environ["DIES_WITH"]:
                    os.kill(os.getpid(), 9)
                return load(folder)
            studies.load_volume = die
            return
        time.sleep(0.01)

if "DIES_WITH" in os.environ:
    threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.parametrize(
    "place",
    ["me-bundle", "datasets/me/any", "notebooks/me/a-notebook", "models/me/cspine/pytorch/default/3"],
)
def test_the_models_are_found_by_their_marker_wherever_they_are_mounted(kaggle, place):
    (kaggle.code / "src" / "cspine" / "kaggle" / "kernel.py").write_text(
        "import sys\nfrom pathlib import Path\nPath('found.txt').write_text(sys.argv[2])\n"
    )
    target = kaggle.inputs / place
    target.parent.mkdir(parents=True, exist_ok=True)
    kaggle.models.rename(target)
    code, said = kaggle.run()
    assert code == 0, said
    assert (kaggle.working / "found.txt").read_text() == str(target / "models")


def test_without_the_competitions_data_it_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "holds sample_submission.csv: attach the competition's data" in done.stdout


# studies of all kinds


def test_every_kind_of_study_ends_in_its_rows(kaggle, studies):
    """One run: no slice, one, five, 1,500, air, a chest, no DICOM at all, a folder that nobody asked for."""
    images = kaggle.data / "test_images"
    whole = [pydicom.dcmread(path) for path in (images / studies[0]).iterdir()]
    whole.sort(key=lambda dataset: -float(dataset.ImagePositionPatient[2]))
    top, bottom = (float(whole[end].ImagePositionPatient[2]) for end in (0, -1))

    def write(uid: str, slices: list[tuple[int, float]], hu: int | None = None) -> None:
        (images / uid).mkdir()
        for number, (source, z) in enumerate(slices, start=1):
            one = copy.deepcopy(whole[source])
            one.StudyInstanceUID, one.InstanceNumber, one.SOPInstanceUID = uid, number, f"{uid}.{number}"
            one.ImagePositionPatient = [*one.ImagePositionPatient[:2], z]
            if hu is not None:
                one.decompress() if one.file_meta.TransferSyntaxUID.is_compressed else None
                stored = int((hu - float(one.RescaleIntercept)) / float(one.RescaleSlope))
                one.PixelData = np.full((one.Rows, one.Columns), stored, np.uint16).tobytes()
            one.save_as(images / uid / f"{number}.dcm")

    places = np.linspace(0, len(whole) - 1, 1500)
    heights = np.interp(places, range(len(whole)), [float(one.ImagePositionPatient[2]) for one in whole])
    (images / "1.2.3.0").mkdir()
    write("1.2.3.1", [(0, top)])
    write("1.2.3.5", [(number, top - number) for number in range(5)])
    write("1.2.3.1500", [(round(place), round(z, 4)) for place, z in zip(places, heights, strict=True)])
    write(
        "1.2.3.7",
        [(number, float(one.ImagePositionPatient[2])) for number, one in enumerate(whole)],
        hu=-1000,
    )
    chest, _ = replica_scan(6, -165, -330, 400)
    stored = [plane.astype(np.int32) + 1024 for plane in chest]
    write_series(
        images / "1.2.3.8",
        [
            Slice(plane, (-200.0, -200.0, -3.0 * number), spacing=(3.0, 3.0))
            for number, plane in enumerate(stored)
        ],
    )
    for path in (images / "1.2.3.8").iterdir():
        one = pydicom.dcmread(path)
        one.StudyInstanceUID = "1.2.3.8"
        one.save_as(path)
    (images / "1.2.3.9").mkdir()
    for number in range(30):
        (images / "1.2.3.9" / f"{number}.dcm").write_bytes(os.urandom(20_000))
    shutil.copytree(images / studies[1], images / "1.2.3.99")
    new = ["1.2.3.0", "1.2.3.1", "1.2.3.5", "1.2.3.1500", "1.2.3.7", "1.2.3.8", "1.2.3.9"]
    rows = [f"{uid}_{kind}" for uid in [*new, *studies] for kind in PREDICTION_TYPES]
    random.Random(0).shuffle(rows)
    (kaggle.data / "sample_submission.csv").write_text(
        "row_id,fractured\n" + "".join(f"{row},0.5\n" for row in rows)
    )
    code, said = kaggle.run()
    assert code == 1 and "rehearsed studies would be on constants" in said, said
    kaggle.rows()
    assert "1.2.3.99" not in said, "nobody asked for it"
    reasons, report = kaggle.reasons(), kaggle.report()
    assert set(reasons) == {*new} - {"1.2.3.1500"}, reasons
    for uid in reasons:
        assert uid in said and len(reasons[uid]) > 15, reasons[uid]
    assert report["predicted"] == 3
    assert f"{bottom}" and report["seconds_by_part"]["decode"] > 0


def edit(kaggle: Kaggle, module: str, more: str, *changes: tuple[str, str]) -> None:
    """Change the attached code."""
    path = kaggle.code / "src" / "cspine" / module
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more)


def test_a_decoder_that_crashes_or_hangs_costs_its_study(kaggle, studies):
    third = "1.2.3.3"
    shutil.copytree(kaggle.data / "test_images" / studies[0], kaggle.data / "test_images" / third)
    _sample(kaggle, lambda text: text + "".join(f"{third}_{kind},0.5\n" for kind in PREDICTION_TYPES))
    edit(
        kaggle,
        "inference/decoded.py",
        f"""

def decode_study(folder, *words, decode=decode_study, **more):
    import os
    import time
    if folder.endswith({studies[0]!r}):
        os.abort()
    if folder.endswith({third!r}):
        time.sleep(1000)
    return decode(folder, *words, **more)
""",
    )
    edit(kaggle, "inference/studies.py", "", ("= 180.0", "= 6.0"))
    code, said = kaggle.run()
    assert code == 1 and "is not as in the list of the bundle" in said, said
    kaggle.rows()
    reasons = kaggle.reasons()
    assert set(reasons) == {studies[0], third}, reasons
    assert "6 s" in reasons[third], reasons
    assert kaggle.report()["predicted"] == 1


def in_a_namespace(kaggle: Kaggle, mounts: str) -> tuple[int, str]:
    """Run the script where mounts concern nobody else; its working folder is copied out."""
    out = kaggle.working.parent / "out"
    script = f"{mounts} cd {kaggle.working} && {sys.executable} {SCRIPT} {kaggle.inputs}; code=$?; "
    script += f"rm -f {kaggle.working}/filler; mkdir {out}; cp -a {kaggle.working}/. {out}/; exit $code"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=300, check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/proc/none"},
    )  # fmt: skip
    kaggle.working = out
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def namespaces() -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no mount namespaces")


def test_a_tiny_shared_memory_costs_nothing(kaggle, namespaces):
    code, said = in_a_namespace(kaggle, "mount -t tmpfs -o size=64k tmpfs /dev/shm;")
    assert code == 0, said
    kaggle.rows()
    assert kaggle.report()["predicted"] == 2


@pytest.mark.parametrize("after_s", [0, 4])
def test_a_full_disk_leaves_a_whole_file(kaggle, namespaces, after_s):
    """Full before the first byte but for the submission, or while studies are predicted."""
    room = "5m" if after_s else "128k"
    fill = f"(sleep {after_s}; cat /dev/zero > {kaggle.working}/filler 2> /dev/null) &" if after_s else ""
    code, said = in_a_namespace(kaggle, f"mount -t tmpfs -o size={room} tmpfs {kaggle.working}; {fill}")
    kaggle.rows()
    assert kaggle.report()["predicted"] == 2, said
    assert "Traceback" not in said
    assert (code, "the reserve could not be written" in said) == ((0, False) if after_s else (1, True)), said


def test_two_studies_until_the_time_is_up(kaggle):
    """Ten studies, and a clock that gives each two thirds of the whole time."""
    images = kaggle.data / "test_images"
    (source, _) = sorted(images.iterdir())
    new = [f"1.2.4.{number}" for number in range(8)]
    for uid in new:
        shutil.copytree(source, images / uid)
    _sample(
        kaggle, lambda text: text + "".join(f"{uid}_{kind},0.5\n" for uid in new for kind in PREDICTION_TYPES)
    )
    edit(kaggle, "kaggle/kernel.py", "", ("TIME_LIMIT_S = 8.5 * 3600", "TIME_LIMIT_S = 16.0"))
    edit(
        kaggle,
        "inference/ensemble.py",
        "",
        ("    def locate(self", "    def locate(self, hu):\n        import time; time.sleep(4)\n"
         "        return self.locate_now(hu)\n\n    def locate_now(self"),
    )  # fmt: skip
    code, said = kaggle.run(scored=True)
    assert code == 0, said
    kaggle.rows()
    assert 1 <= kaggle.report()["predicted"] <= 4, said
    reasons = list(kaggle.reasons().values())
    assert len(reasons) + kaggle.report()["predicted"] == 10
    assert all("time" in reason for reason in reasons), reasons


# the table of docs/kaggle.md

OTHERS = {
    "test_the_scoring_run_ends_with_0_whatever_happens": None,
    "test_all_is_well_with_odd_tables_and_warnings_as_errors": (
        "the sample has a BOM and CRLF; warnings are errors", "predictions", 0,
    ),
    "test_without_nibabel_it_predicts": ("nibabel is not there", "predictions", 0),
    "test_visible_rows_without_folders_are_rehearsed_on_training_studies": (
        "the visible test set, whose rows have no folders", "constants; training studies are rehearsed", 0,
    ),
    "test_a_process_that_dies_with_a_study_is_started_again": (
        "the predicting process is killed once; at every study", "predictions; constants", 1,
    ),
    "test_the_process_that_holds_the_results_may_be_killed_too": (
        "the process that holds the results is killed", "predictions, also those from before", 0,
    ),
    "test_a_study_that_takes_its_process_down_costs_only_itself": (
        "a study takes its process down, twice", "constants for it, predictions for the others", 1,
    ),
    "test_sigterm_leaves_what_there_is": ("SIGTERM", "what was predicted by then", 1),
    "test_a_closed_stdout_costs_nothing": ("stdout is closed", "predictions", 0),
    "test_every_kind_of_study_ends_in_its_rows": (
        "studies with 0, 1 and 5 slices, of air, of a chest, of no DICOM; one with 1,500 slices; a shuffled sample; "
        "folders that nobody asked for", "constants for the first six, predictions for the others", 1,
    ),
    "test_a_decoder_that_crashes_or_hangs_costs_its_study": (
        "the decoder crashes, or hangs", "constants for that study", 1,
    ),
    "test_a_tiny_shared_memory_costs_nothing": ("64 KB of shared memory", "predictions", 0),
    "test_a_full_disk_leaves_a_whole_file": (
        "128 KB of disk; a disk that gets full while studies are predicted", "predictions; predictions", "1; 0",
    ),
    "test_two_studies_until_the_time_is_up": ("the time is up after two studies", "predictions for these", 0),
    "test_the_models_are_found_by_their_marker_wherever_they_are_mounted": None,
    "test_without_the_competitions_data_it_says_so": ("the competition's data is not attached", "nothing", 1),
}  # fmt: skip
"""Test -> what happens, what is left, the exit code outside of the scoring run."""


def table() -> str:
    """What goes wrong, as docs/kaggle.md shows it."""
    rows = [(name, "predictions of what is sound" if case.predicted else "training constants", 1)
            for name, case in CASES.items()]  # fmt: skip
    rows += [row for row in OTHERS.values() if row]
    return "| what happens | what is left | exit code, not scored |\n|---|---|---|\n" + "".join(
        f"| {what} | {left} | {code} |\n" for what, left, code in rows
    )


def test_the_page_shows_what_is_tried_here():
    tests = {name for name in globals() if name.startswith("test_")}
    own = {
        "test_a_valid_submission_is_left_and_the_exit_code_is_true",
        "test_the_page_shows_what_is_tried_here",
    }
    assert tests - own == set(OTHERS)
    assert table() in (ROOT / "docs" / "kaggle.md").read_text(), table()
