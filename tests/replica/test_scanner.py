"""A scan must look like its site's: the grain of its noise, the kernel's edges, streaks where they belong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from replica.anatomy.build import make_anatomy
from replica.anatomy.shapes import Grid
from replica.scanner.artefacts import METAL_HU, make_artefacts
from replica.scanner.grain import amplitudes, noise_pairs
from replica.scanner.protocol import Protocol, choose_protocol
from replica.scanner.scan import scan
from replica.scanner.sites import Kernel
from replica.settings import ReplicaSettings

SETTINGS = ReplicaSettings(out=Path("unused"), size=1.0)
BONE = Kernel(0.57, 2.4)
PIXEL_MM = 0.4


def still(
    slices: int = 3, matrix: int = 128, field_mm: float = 200.0, height: float = 0.4, **changes
) -> tuple:
    """An anatomy, and a protocol whose grid lies around its column at a height (0 is C1, 1 is C7)."""
    rng = np.random.default_rng(0)
    anatomy = make_anatomy("M", 40, rng)
    protocol = choose_protocol(1, anatomy, SETTINGS, rng)
    pixel = field_mm / matrix
    top, bottom = anatomy.poses[0].centre[0], anatomy.poses[6].centre[0]
    z = top + height * (bottom - top)
    y, x = (float(a[0]) for a in anatomy.spine_at(np.array([z])))
    half = pixel * (matrix - 1) / 2
    grid = Grid((slices, matrix, matrix), (1.0, pixel, pixel), (z + (slices - 1) / 2, y - half, x - half))
    how = {"thickness_mm": 1.0, "kernel": BONE, "noise_hu": 40.0, "signed": True, "intercept": 0, **changes}
    return anatomy, replace(protocol, grid=grid, **how)


def discs(protocol: Protocol, things: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Air with discs of (y mm, x mm from the middle, radius mm, HU) in every slice, float32 (z, y, x)."""
    at = (np.arange(protocol.grid.shape[1]) - (protocol.grid.shape[1] - 1) / 2) * protocol.grid.spacing_mm[1]
    hu = np.full(protocol.grid.shape, -1000, np.float32)
    for y, x, radius, value in things:
        hu[:, (at[:, None] - y) ** 2 + (at[None, :] - x) ** 2 < radius**2] = value
    return hu


def scanned(hu: np.ndarray, protocol: Protocol, anatomy, seed: int = 0) -> np.ndarray:
    """HU of the stored slices, float64 (z, y, x)."""
    return np.stack(list(scan(hu, protocol, anatomy, np.random.default_rng(seed)))).astype(float)


def spectrum(images: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Radial frequency (cycles/mm) and power of images (n, y, x), both (y, x)."""
    f = np.fft.fftfreq(images.shape[1], pixel_mm)
    return np.hypot(f[:, None], f[None, :]), (np.abs(np.fft.fft2(images)) ** 2).mean(axis=0)


def draw_noise(pixel_mm: float, keep: float = 0.0, count: int = 40, matrix: int = 128) -> np.ndarray:
    shape = (matrix, matrix)
    noise = noise_pairs(shape, amplitudes(shape, pixel_mm, BONE), keep, np.random.default_rng(0))
    return np.stack([np.stack(next(noise)) for _ in range(count)])


def test_noise_rises_like_a_ramp_and_falls_with_the_kernel():
    noise = draw_noise(PIXEL_MM).sum(axis=1)
    assert noise.std() == pytest.approx(1, abs=0.02)
    f, power = spectrum(noise, PIXEL_MM)
    band = [power[(f > low) & (f <= low + 0.05)].mean() for low in (0.02, 0.1, 0.2, 0.3, 1.15)]
    assert band[0] < 0.35 * band[2]  # white noise, or smoothed noise, has as much or more at low frequencies
    assert band[1] < band[2] < band[3]
    assert band[4] < 0.5 * band[3]
    # a grain larger than a pixel: neighbours go together
    assert np.mean(noise[:, :, 1:] * noise[:, :, :-1]) > 0.4


def test_a_coarse_pixel_folds_the_fine_noise_back():
    f, power = spectrum(draw_noise(4 * PIXEL_MM, matrix=64).sum(axis=1), 4 * PIXEL_MM)
    low, high = power[(f > 0.03) & (f < 0.08)].mean(), power[(f > 0.25) & (f < 0.3)].mean()
    assert low / high > 0.5  # unfolded it is below 0.3


def test_overlapping_slices_share_their_noise():
    noise = draw_noise(PIXEL_MM, keep=0.6, count=120, matrix=64).sum(axis=1)
    neighbours = np.mean(noise[1:] * noise[:-1]) / noise.var()
    assert neighbours == pytest.approx(0.6, abs=0.05)
    assert noise[-20:].std() == pytest.approx(noise[:20].std(), rel=0.1)


def direction(images: np.ndarray) -> float:
    """Power of images (n, y, x) at frequencies along y for that along x: above 1 streaks lie along x."""
    f = np.abs(np.fft.fftfreq(images.shape[1]))
    power = (np.abs(np.fft.fft2(images)) ** 2).mean(axis=0)
    along_y, along_x = f[None, :] < 0.3 * f[:, None], f[:, None] < 0.3 * f[None, :]
    return float(power[along_y].mean() / power[along_x].mean())


def test_noise_from_lateral_rays_lies_along_x():
    lateral, other = np.moveaxis(draw_noise(PIXEL_MM), 1, 0)
    assert direction(lateral) > 20
    assert direction(other) < 0.2
    assert direction(lateral + other) == pytest.approx(1, abs=0.1)


def test_shoulders_bring_more_noise_and_it_is_directed():
    body = [(0, 0, 95, 50)]
    difference = {}
    for height in (0.4, 1.35):
        anatomy, protocol = still(8, matrix=256, height=height)
        image = scanned(discs(protocol, body), protocol, anatomy)[:, 88:168, 88:168]
        difference[height] = (image.std(), direction(image - image.mean(axis=0)))
    assert difference[1.35][0] > 1.2 * difference[0.4][0]
    assert difference[1.35][1] > 1.7 * difference[0.4][1]


def test_noise_is_strongest_in_the_middle_of_the_body():
    anatomy, protocol = still(6, noise_hu=40.0)
    artefacts = make_artefacts(discs(protocol, [(0, 0, 70, 50)]), protocol, anatomy, np.random.default_rng(0))
    _, lateral, other = artefacts.at(2)
    sd = np.hypot(lateral, other)
    for edge in (sd[64, 21], sd[21, 64], sd[64, 106], sd[106, 64]):
        assert sd[64, 64] > 1.15 * edge
        assert edge > 1.1 * sd[2, 2]


def test_metal_streaks_only_in_its_slices():
    anatomy, protocol = still(24, height=0.1)
    hu = discs(protocol, [(0, 0, 75, 50)])
    plain = make_artefacts(hu, protocol, anatomy, np.random.default_rng(0))
    hu[10:14, 30:34, 50:53] = hu[10:14, 30:34, 76:79] = METAL_HU + 500
    streaked = make_artefacts(hu, protocol, anatomy, np.random.default_rng(0))
    far = (slice(70, 90), slice(40, 90))
    sd = {k: (streaked.at(k)[0][far].std(), plain.at(k)[0][far].std()) for k in (2, 12, 22)}
    assert sd[12][0] > 10 and sd[12][0] > 3 * sd[12][1]
    assert sd[2][0] < 1.2 * sd[2][1] + 0.5 and sd[22][0] < 1.2 * sd[22][1] + 0.5
    # rays through both pieces of metal miss most: a dark band from one to the other
    between = streaked.at(12)[0]
    assert between[31:33, 60:70].mean() < between[40:44, 60:70].mean() - 40


def test_beam_hardening_darkens_what_lies_between_dense_rods():
    anatomy, protocol = still(4)
    body, rods = (0, 0, 80, 40), [(0, -35, 11, 1100), (0, 35, 11, 1100)]
    none = np.random.default_rng(0)
    error = make_artefacts(discs(protocol, [body, *rods]), protocol, anatomy, none).at(1)[0]
    one = make_artefacts(discs(protocol, [body, rods[0]]), protocol, anatomy, none).at(1)[0]
    band, above = error[61:67, 58:70].mean(), error[25:35, 58:70].mean()
    assert band < above - 20
    assert one[61:67, 58:70].mean() > band + 15  # it takes two
    assert abs(error).max() < 400


@pytest.mark.parametrize(("kernel", "overshoots"), [(BONE, True), (Kernel(0.5, 0.6), False)])
def test_a_sharp_kernel_overshoots_at_edges_and_a_soft_one_does_not(kernel, overshoots):
    anatomy, protocol = still(3, matrix=256, field_mm=100, kernel=kernel, noise_hu=0.0)
    hu = np.full(protocol.grid.shape, -60, np.float32)  # all below bone: no beam hardens
    hu[:, :, 128:] = 140
    profile = scanned(hu, protocol, anatomy)[1, 100:150].mean(axis=0)
    assert (profile[128:140].max() > 155) == overshoots
    assert profile[110:120] == pytest.approx(-60, abs=2) and profile[136:146] == pytest.approx(140, abs=2)


def test_thick_slices_average_over_their_neighbours():
    anatomy, protocol = still(7, noise_hu=0.0, kernel=Kernel(5.0, 0.0))
    hu = discs(protocol, [(0, 0, 60, 0)])
    hu[3, 50:78, 50:78] = 400
    thin = scanned(hu, protocol, anatomy)[:, 60:68, 60:68].mean(axis=(1, 2))
    thick = scanned(hu, replace(protocol, thickness_mm=2.0), anatomy)[:, 60:68, 60:68].mean(axis=(1, 2))
    assert thin[3] - thin[2] > 370
    assert thick[3] - thick[0] == pytest.approx(200, abs=25)
    assert thick[2] - thick[0] == pytest.approx(100, abs=25)


def test_values_stay_in_twelve_bits():
    anatomy, protocol = still(2, signed=False, intercept=-1024)
    hu = discs(protocol, [(0, 0, 60, 50), (0, 0, 5, 9000)])
    stored = list(scan(hu, protocol, anatomy, np.random.default_rng(0)))
    assert all(s.dtype == np.uint16 and s.max() == 4095 and s.min() == 0 for s in stored)
