"""The locator's benchmark runs, and judges a label map as its words say."""

import json
import subprocess
import sys
from pathlib import Path

import locator_cases
import nibabel
import numpy as np
import pytest
import torch
from locator_ablation import BASE, PlaceLocator, arms
from locator_cases import judge_case, summary

from cspine.competition.labels import LEVELS
from cspine.networks.search import Located
from cspine.preprocessing.verdict import Kind, Verdict
from cspine.settings.networks import LocatorSettings

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_writes_its_tables(tmp_path):
    out = tmp_path / "locator.md"
    flags = ["--studies", 4, "--workers", 2, "--work", tmp_path / "work", "--out", out]
    command = [sys.executable, ROOT / "benchmarks" / "bench_locator.py", *flags]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.strip() == done.stdout.strip() and "python benchmarks/bench_locator.py --studies 4" in text
    for part in (
        "## Unseen replicas of wide coverage",
        "| all | 4 |",
        "called sure though wrong",
        "Not measured: no",
    ):
        assert part in text
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.slow
def test_an_ablation_goes_on_where_it_stopped(tmp_path):
    """What was trained and judged is not done again; an arm that searches otherwise shares the first one's training."""
    out, work = tmp_path / "ablation.md", tmp_path / "work"
    command = [
        sys.executable, ROOT / "benchmarks" / "bench_locator.py", "--parts", "ablation", "--studies", 4, "--judged", 2,
        "--updates", 10, "--seeds", 1, "--workers", 2, "--work", work, "--out", out, "--arms",
    ]  # fmt: skip

    def run(*arms):
        words = [str(part) for part in [*command, *arms]]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stderr

    code, stderr = run(BASE)
    assert code == 0, stderr
    first = out.read_text()
    trained = {path: path.stat().st_mtime_ns for path in work.rglob("model.safetensors")}
    assert len(trained) == 1
    code, stderr = run(BASE, "no window search")
    assert code == 0, stderr
    assert trained == {path: path.stat().st_mtime_ns for path in work.rglob("model.safetensors")}
    rows = [line for line in out.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {BASE}", "| no window search"]
    assert rows[0].split(" | ")[:3] == first.splitlines()[-1].split(" | ")[:3]
    code, stderr = run("5 mm")
    assert code == 2 and "--arms ['5 mm']: expected some of" in stderr


def labels_of(levels, shift=0) -> np.ndarray:
    labels = np.zeros((70, 20, 20), np.uint8)
    for level in levels:
        labels[level * 7 : level * 7 + 6, 5:15, 5:15] = level + shift
    return labels


def case(found, truth, shares, kind=Kind.SURE):
    names = tuple(name for number, name in enumerate(LEVELS, start=1) if (found == number).any())
    return judge_case(Located(found, Verdict(kind, (), names)), truth, np.array(shares, float), 3.0, "neck")


def test_right_shifted_and_invented_levels_are_told_apart():
    whole = labels_of(range(1, 8))
    good = case(whole, whole, [1] * 7)
    assert (good.asked, good.right, good.invented, good.dice, good.distance_mm) == (
        7,
        7,
        0,
        1.0,
        0.0,
    ) and good.good
    shifted = case(labels_of(range(1, 7), 1), whole, [1] * 7)
    assert shifted.right == 0 and not shifted.good
    part = labels_of(range(1, 5))
    invented = case(whole, part, [1, 1, 1, 1, 0, 0, 0])
    assert (invented.asked, invented.right, invented.invented) == (4, 4, 3) and not invented.good
    # a sliver may be named or not
    assert case(part, whole, [1, 1, 1, 1, 0.1, 0, 0]).good
    told = summary([good, shifted, invented])
    assert (
        told["levels right"] == "11 of 18" and told["called sure though wrong"] == "2 (66.7%, 20.8% to 93.9%)"
    )


def test_a_landmark_is_where_the_file_says(tmp_path):
    """Counted from the file's first voxel, whatever the small volume's grid; a wrong level is named."""
    hu = np.full((60, 60, 50), -1000, np.int16)
    affine = np.diag([-1.0, -1.0, -2.0, 1.0])  # to the left, back and feet
    hu[20:40, 20:40, 10:40] = 300
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "one.nii.gz")
    (tmp_path / "landmarks.json").write_text(
        json.dumps({"one": {"x_mm": 30, "levels": {"C1": [[30, 30]], "C2": [[70, 30], [72, 31]]}}})
    )

    def find(locators, volume, device):
        labels = np.zeros(volume.shape, np.uint8)
        labels[8:13, 8:13, 8:13] = 1  # around 30 mm at 3 mm
        labels[22:26, 8:13, 8:13] = 3
        return Located(labels, Verdict(Kind.SURE, (), ("C1", "C3")))

    class Settings:
        settings = LocatorSettings(pretrained=False)

    rows = locator_cases.scan_rows(tmp_path, [Settings()], torch.device("cpu"), find)
    assert rows.loc["one", "landmarks right"] == "1 of 3"
    assert rows.loc["one", "invented below"] == "C3"
    assert "C2 at z 70" in rows.loc["one", "wrong"]


def test_the_arms_differ_in_what_their_names_say():
    chosen = arms(400, 100, 3.0)
    base = chosen[BASE].preset
    assert base.locator_training.epochs == 8
    assert chosen["4 mm"].preset.locator.spacing_mm == 4.0 and not chosen["no window search"].searched
    coarser = arms(400, 100, 4.0)
    assert {"2 mm", "3 mm"} < set(coarser) and coarser[BASE].preset == chosen["4 mm"].preset
    assert chosen["no cuts, no small fields"].preset.locator_augment.cut == 0
    settings = LocatorSettings(channels=(4, 8), pretrained=False)
    torch.manual_seed(0)
    told = PlaceLocator(settings)
    assert told(torch.zeros(1, 1, 24, 16, 16)).shape == (1, 9, 24, 16, 16)
    assert sum(p.numel() for p in told.parameters()) > sum(
        p.numel() for p in chosen[BASE].network(settings).parameters()
    )
