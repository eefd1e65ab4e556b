"""Soft tissue, skull, and what lies around the patient, on the picture before it is scanned."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from replica.anatomy.build import Anatomy, make_anatomy
from replica.anatomy.shapes import Grid
from replica.anatomy.vertebrae import BODY_MM
from replica.scanner.artefacts import METAL_HU
from replica.scanner.protocol import choose_protocol
from replica.settings import ReplicaSettings
from replica.study import paint
from replica.tissue.layers import make_layers
from replica.tissue.muscles import muscle_layer
from replica.tissue.painter import Body, Ink, Layer, paint_slices, trim
from replica.tissue.skin import fat_mm, outline, skin_layer

SETTINGS = ReplicaSettings(out=Path("unused"), size=0.25)
SEEDS = (1, 4, 6)


def person(seed: int, **flesh) -> Anatomy:
    """A patient without collar and tubes, with what `flesh` changes."""
    anatomy = make_anatomy("MF"[seed % 2], 25 + 12 * (seed % 5), np.random.default_rng(seed))
    plain = {"collar_mm": 0.0, "tube": False, "wires": False, "earrings": False, "holder": False}
    return replace(anatomy, fillings=0, flesh=replace(anatomy.flesh, **(plain | flesh)))


def wide_grid(anatomy: Anatomy, seed: int) -> Grid:
    """A grid from the skull's base to the chest that holds the whole neck and the couch."""
    top = float(anatomy.poses[0].centre[0])
    return Grid((112, 182, 152), (2.0, 1.6, 1.6), (top + 40.0, -138.0, -121.0))


@cache
def scene(seed: int) -> tuple[Anatomy, Grid, np.ndarray]:
    """One painted patient on the wide grid, vertebrae included."""
    anatomy = person(seed)
    grid = wide_grid(anatomy, seed)
    protocol = choose_protocol(4, anatomy, SETTINGS, np.random.default_rng(seed))
    return anatomy, grid, paint(anatomy, replace(protocol, grid=grid), {}).hu


def slice_of(grid: Grid, z_mm: float) -> int:
    return int(round((grid.origin_mm[0] - z_mm) / grid.spacing_mm[0]))


@pytest.mark.parametrize("seed", SEEDS)
def test_air_runs_from_the_pharynx_to_the_trachea(seed):
    anatomy, grid, hu = scene(seed)
    # below the mouth, so that the nostrils don't join it to the air outside
    first, last = (slice_of(grid, anatomy.poses[i].centre[0]) for i in (1, 7))
    neck, _ = ndimage.label(hu[first : last + 1] < -500)
    lying_outside = np.unique(np.concatenate([neck[:, [0, -1], :].ravel(), neck[:, :, [0, -1]].ravel()]))
    inner = np.where(np.isin(neck, lying_outside), 0, neck)
    # one piece of air reaches from the dens to T1, and it is black
    both = set(np.unique(inner[0])) & set(np.unique(inner[-1])) - {0}
    assert both, "the airway is closed"
    values = hu[first : last + 1][np.isin(inner, list(both))]
    assert np.percentile(values, 20) < -900


@pytest.mark.parametrize("seed", SEEDS)
def test_skin_encloses_everything(seed):
    anatomy, grid, hu = scene(seed)
    seen = 0
    for k in range(12, 60, 6):
        tissue, count = ndimage.label(ndimage.binary_closing(hu[k] > -400, iterations=1))
        sizes = ndimage.sum_labels(np.ones_like(hu[k]), tissue, range(1, count + 1))
        # a nose that opens within the slice is closed: the walls of its cavity are no skin
        whole = np.pad(tissue == 1 + int(np.argmax(sizes)), 14)
        patient = ndimage.binary_fill_holes(ndimage.binary_closing(whole, iterations=12)[14:-14, 14:-14])
        edge = patient & ~ndimage.binary_erosion(patient, iterations=2)
        inside = ndimage.binary_erosion(patient, iterations=3)
        # bright things lie below the skin, and the outermost ring is skin and fat
        assert (hu[k][edge] > 300).mean() < 0.02, k
        seen += (hu[k][inside] > 300).sum()
    assert seen > 500


def muscles_of(anatomy: Anatomy, grid: Grid) -> np.ndarray:
    """Distance to the muscles on the coarse lattice of a small grid."""
    body = Body(grid, anatomy, np.random.default_rng(0))
    skin = skin_layer(body, np.random.default_rng(1))
    layers = [
        skin,
        muscle_layer(body, lambda f: outline(f, anatomy) + fat_mm(f, anatomy), np.random.default_rng(2)),
    ]
    painter = paint_slices(grid, layers, grid.spacing_mm[1])
    return np.stack([painter(k) for k in range(grid.shape[0])])


@pytest.mark.parametrize("seed", SEEDS)
def test_muscle_and_fat_keep_their_hounsfield_units(seed):
    anatomy = person(seed)
    top = float(anatomy.poses[2].centre[0])
    hu = muscles_of(anatomy, Grid((8, 240, 240), (6.0, 0.7, 0.7), (top, -84.0, -84.0)))
    muscle, fat = hu[(hu > 20) & (hu < 120)], hu[(hu > -140) & (hu < -70)]
    assert 48 < np.median(muscle) < 62
    assert -108 < np.median(fat) < -88
    # nearly all of a neck is one or the other: what lies between is partial volume
    between = ((hu > -60) & (hu < 15)).sum() / (hu > -300).sum()
    assert between < 0.2
    assert 0.25 < len(muscle) / len(fat) < 8


@pytest.mark.parametrize("seed", SEEDS)
def test_left_is_no_mirror_of_right(seed):
    anatomy, grid, hu = scene(seed)
    k = slice_of(grid, float(anatomy.poses[3].centre[0]))
    half = 34
    middle = int(round((float(anatomy.poses[3].centre[2]) - grid.origin_mm[2]) / grid.spacing_mm[2]))
    unlike = []
    for axis in range(middle - 5, middle + 6):  # whichever the axis is
        left, right = hu[k, :, axis : axis + half], hu[k, :, axis - half + 1 : axis + 1][:, ::-1]
        tissue = (left > -300) & (right > -300)
        unlike.append((np.abs(left - right)[tissue] > 60).mean())
    assert 0.12 < min(unlike) < 0.6  # alike, as both halves of a neck are, and yet not the same


def test_two_patients_differ_and_one_stays_the_same():
    (a, grid, hu), (b, _, other) = scene(SEEDS[0]), scene(SEEDS[1])
    assert a.flesh != b.flesh
    assert (np.abs(hu - other) > 60).mean() > 0.15
    again = [trim(layer) for layer in make_layers(grid, a)]
    first = [trim(layer) for layer in make_layers(grid, a)]
    assert len(first) == len(again) > 100
    for one, two in zip(first, again, strict=True):
        assert one.d.tobytes() == two.d.tobytes()
        assert one.ink.hu == two.ink.hu


@pytest.mark.parametrize("seed", SEEDS)
def test_couch_lies_below_the_patient(seed):
    anatomy = person(seed)
    grid = wide_grid(anatomy, seed)
    body = Body(grid, anatomy, np.random.default_rng(np.random.SeedSequence([anatomy.seed, 1]).spawn(12)[0]))
    layers = make_layers(grid, anatomy)
    skin = next(layer for layer in layers if layer.skin)
    couch = layers[: [layer.skin for layer in layers].index(True)]
    assert len(couch) >= 2
    back = skin.lattice.axis(1)[np.flatnonzero((skin.d < 0).any(axis=(0, 2)))[-1]]
    for layer in couch[:2]:
        middle = int(np.argmin(np.abs(layer.lattice.axis(2))))
        first = np.flatnonzero(layer.d[:, :, middle] < 0)[0]
        top = layer.lattice.axis(1)[first % layer.d.shape[1]]
        assert top > back - 2 * body.k
    heads = make_layers(grid, person(seed, holder=True))
    assert len(heads) > len(layers)


def test_shares_of_collars_contrast_and_tubes():
    drawn = [make_anatomy("M", 40, np.random.default_rng(i)).flesh for i in range(600)]
    assert 0.29 < np.mean([f.collar_mm > 0 for f in drawn]) < 0.41
    assert 0.20 < np.mean([f.contrast_hu > 0 for f in drawn]) < 0.31
    assert 0.04 < np.mean([f.tube for f in drawn]) < 0.15
    assert len({f.bulk for f in drawn}) == 600


def test_age_streaks_muscles_and_calcifies_cartilage():
    rng = np.random.default_rng
    young = [make_anatomy("M", 22, rng(i)).flesh for i in range(150)]
    old = [make_anatomy("M", 85, rng(i)).flesh for i in range(150)]
    for name in ("streaks", "calcified", "missing"):
        a, b = (np.mean([getattr(f, name) for f in group]) for group in (young, old))
        assert b > a + 0.1, name


def test_collar_and_tube_change_the_picture_where_they_lie():
    anatomy = person(SEEDS[0])
    grid = wide_grid(anatomy, SEEDS[0])

    def painted(**flesh) -> np.ndarray:
        layers = make_layers(grid, replace(anatomy, flesh=replace(anatomy.flesh, **flesh)))
        painter = paint_slices(grid, layers, grid.spacing_mm[1])
        return np.stack([painter(k) for k in range(20, 70, 5)])

    plain = painted()
    collar = painted(collar_mm=12.0)
    changed = np.abs(collar - plain) > 100
    assert changed.sum() > 200
    assert (plain[changed] < -100).mean() > 0.97  # it is worn outside
    tube = painted(tube=True)
    assert ((tube > -200) & (plain < -600)).sum() > 10


def test_metal_is_painted_for_every_filled_tooth():
    anatomy = person(SEEDS[1], missing=0.1)
    top = float(anatomy.poses[0].centre[0])
    grid = Grid((48, 110, 110), (1.2, 1.0, 1.0), (top + 12, -125.0, -55.0))
    for fillings in (0, 3):
        layers = make_layers(grid, replace(anatomy, fillings=fillings))
        painter = paint_slices(grid, layers, 1.0)
        hu = np.stack([painter(k) for k in range(grid.shape[0])])
        teeth = (hu > METAL_HU).sum()
        assert (teeth > 0) == (fillings > 0)
        assert (hu > 1200).sum() > 200  # the teeth themselves


def test_tissue_before_the_spine_is_as_thick_as_in_healthy_necks():
    thick = {2: [], 5: []}
    for seed in range(8):
        anatomy = person(seed)
        grid = wide_grid(anatomy, seed)
        painter = paint_slices(grid, make_layers(grid, anatomy), grid.spacing_mm[1])
        for level, found in thick.items():
            z, y, x = anatomy.poses[level].centre
            hu = painter(slice_of(grid, z))
            depth = BODY_MM["C3" if level == 2 else "C6"][0] / 2
            front = y - depth * anatomy.scale
            ys = grid.axis(1)
            near = (ys < front) & (ys > front - 45)
            columns = [int(round((x + dx - grid.origin_mm[2]) / grid.spacing_mm[2])) for dx in (-4, 0, 4)]
            air = [ys[np.flatnonzero(near & (hu[:, c] < -400))] for c in columns]
            found.append(min((front - a[-1] for a in air if len(a)), default=np.nan))
    assert 3 < np.nanmean(thick[2]) < 8
    assert 10 < np.nanmean(thick[5]) < 20


def test_a_layer_inside_never_leaves_the_skin():
    grid = Grid((2, 40, 40), (4.0, 1.0, 1.0), (4.0, -20.0, -20.0))
    y, x = np.meshgrid(grid.axis(1), grid.axis(2), indexing="ij")
    disc = np.broadcast_to(np.hypot(y, x) - 10, grid.shape).astype(np.float32)
    bar = np.broadcast_to(np.abs(y) - 3 + 0 * x, grid.shape).astype(np.float32)
    skin = Layer(disc, grid, Ink(-100.0), skin=True)
    for inside in (True, False):
        image = paint_slices(grid, [skin, Layer(bar, grid, Ink(1000.0), inside=inside)], 1.0)(0)
        assert (image[20, 33] > 0) != inside
        assert image[20, 20] == 1000
