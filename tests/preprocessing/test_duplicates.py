import numpy as np
import pytest
from scipy import ndimage

from cspine.execution.store import StudyStore
from cspine.preprocessing.duplicates import ALIKE, find_duplicates, fingerprint


def neck(seed: int) -> np.ndarray:
    """A body of its own shape in air, with bone and holes, int16 (40, 36, 34)."""
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[:40, :36, :34]
    radius = 10 + 3 * np.sin(z / random.uniform(4, 9) + random.uniform(0, 6))
    body = (y - 18) ** 2 + (x - 17) ** 2 * random.uniform(0.8, 1.2) < radius**2
    hu = np.where(body, 40.0, -1000.0)
    for _ in range(25):
        centre = random.uniform([0, 10, 9], [40, 26, 25])
        ball = (
            sum((axis - c) ** 2 for axis, c in zip((z, y, x), centre, strict=True))
            < random.uniform(2, 6) ** 2
        )
        hu[ball & body] = random.choice([700.0, 300.0, -900.0])
    return ndimage.gaussian_filter(hu, 0.8).astype(np.int16)


def write(folder, volumes: dict[str, np.ndarray]) -> None:
    store = StudyStore(folder, {"spacing_mm": 4.0})
    for uid, volume in volumes.items():
        store.write(uid, {"volume": volume}, {"affine": np.eye(4).tolist()})


def noisy(volume: np.ndarray) -> np.ndarray:
    return (volume + np.random.default_rng(0).normal(0, 20, volume.shape)).astype(np.int16)


COPIES = {
    "the same": lambda volume: volume,
    "noise": noisy,
    "cropped": lambda volume: volume[1:],
    "more air": lambda volume: np.pad(volume, ((0, 0), (4, 6), (3, 2)), constant_values=-1000),
    "other scale": lambda volume: (volume * 1.02 + 8).astype(np.int16),
    "slices in the other order": lambda volume: volume[::-1],
    "other spacing": lambda volume: ndimage.zoom(volume, 1.25, order=1),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_among_many_others(tmp_path, how):
    volumes = {f"1.2.{number}": neck(number) for number in range(12)}
    write(tmp_path / "volumes", {**volumes, "1.2.99": COPIES[how](volumes["1.2.4"])})
    found = find_duplicates(tmp_path / "volumes")
    assert found[["StudyInstanceUID", "other"]].to_numpy().tolist() == [["1.2.4", "1.2.99"]], how
    assert found["correlation"][0] >= ALIKE


def test_the_correlation_is_numpys(tmp_path):
    one, two = neck(0), neck(1)
    write(tmp_path / "volumes", {"1.2.0": one, "1.2.1": two})
    found = find_duplicates(tmp_path / "volumes", alike=-1.0)
    first, second = fingerprint(one), fingerprint(two)
    upright = np.corrcoef(first, second)[0, 1]
    turned = np.corrcoef(first, second.reshape(24, -1)[::-1].ravel())[0, 1]
    assert found["correlation"].max() == pytest.approx(max(upright, turned), abs=1e-5)


def test_a_scan_of_nothing_is_like_no_other(tmp_path):
    empty = np.full((20, 20, 20), -1000, np.int16)
    write(tmp_path / "volumes", {"1.2.0": empty, "1.2.1": empty.copy()})
    assert len(find_duplicates(tmp_path / "volumes")) == 0
    assert len(find_duplicates(tmp_path / "none")) == 0
