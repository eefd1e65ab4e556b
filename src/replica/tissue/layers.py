"""Everything that is no vertebra, in painting order: couch, skin, muscles, organs, bones, what is worn."""

import numpy as np
from scipy import ndimage

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import Grid
from replica.tissue import chest, couch, throat, trunk
from replica.tissue.face import face_layers
from replica.tissue.head import skull_layers
from replica.tissue.muscles import muscle_layer
from replica.tissue.painter import GRAIN_MM, GRAINS, Body, Frame, Layer
from replica.tissue.skin import fat_mm, outline, skin_layer

MARROW_HU = 75.0  # SD of the grain in the marrow of skull, jaw and ribs, before a voxel averages over it


def make_layers(grid: Grid, anatomy: Anatomy) -> list[Layer]:
    """All soft tissue and the bones that are no vertebrae.

    Parameters
    ----------
    grid : Grid
        The scan's voxels.
    anatomy : Anatomy
        The patient.

    Returns
    -------
    list of Layer
        In painting order.
    """
    seeds = np.random.SeedSequence([anatomy.seed, 1]).spawn(13)
    rngs = [np.random.default_rng(s) for s in seeds]
    body = Body(grid, anatomy, rngs[0])
    grain = _marrow(grid, rngs[1])
    skin = skin_layer(body, rngs[2])

    def below_fat(f: Frame) -> np.ndarray:
        d = skin.d / np.float32(body.k) if f is body.whole else outline(f, anatomy)
        return d + fat_mm(f, anatomy)

    layers = couch.couch_layers(body, skin, rngs[3])
    if anatomy.flesh.holder:
        layers += couch.holder_layer(body, skin, rngs[4])
    if anatomy.flesh.collar_mm:
        layers += couch.collar_layers(body, rngs[5])
    layers.append(skin)
    muscles = muscle_layer(body, below_fat, rngs[6])
    layers += [muscles] if muscles else []
    layers += body.cast(throat.gullet_and_glands(anatomy, rngs[7]))
    layers += body.cast(throat.vessels(anatomy, rngs[7]))
    layers += body.cast(throat.canal(anatomy))
    layers += skull_layers(body, grain, rngs[8])
    layers += face_layers(body, grain, rngs[9])
    layers += body.cast(throat.airway(anatomy))
    layers += body.cast(throat.cartilages(anatomy, grain, rngs[7]))
    layers += body.cast(trunk.organs(anatomy, rngs[12]))
    layers += body.cast(trunk.lungs(anatomy, rngs[10]))
    layers += body.cast(chest.great_vessels(anatomy, rngs[10]))
    layers += body.cast(chest.chest_bones(anatomy, grain, rngs[10]))
    layers += body.cast(trunk.bones(anatomy, grain, rngs[12]))
    if anatomy.flesh.tube:
        layers += body.cast(couch.tubes(anatomy, rngs[11]), inside=False)
    layers += body.cast(couch.trinkets(body, rngs[11]), inside=False)
    return layers


def _marrow(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """A block of grain in HU, float32 (z, y, x), that fades where a voxel averages over it."""
    white = rng.standard_normal((GRAINS, GRAINS, GRAINS), dtype=np.float32)
    fine = ndimage.gaussian_filter(white, 0.6 / GRAIN_MM, mode="wrap")
    scale = MARROW_HU / fine.std()
    blur = 0.45 * grid.voxel_mm / GRAIN_MM
    return scale * (ndimage.gaussian_filter(fine, blur, mode="wrap") if blur > 0.5 else fine)
