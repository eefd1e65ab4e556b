"""The vertebrae of any scan: which are in view, where, and whether that can be believed."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from cspine import cli, storage
from cspine.competition.labels import LEVELS
from cspine.evaluation.figures import COLOURS, png
from cspine.inference.scans import NamedScan, name_vertebrae, read_scan
from cspine.preprocessing.masks import level_coverage
from cspine.preprocessing.nifti import write_label_map
from cspine.preprocessing.verdict import Kind

WINDOW_HU = (-600, 1400)
DISCLAIMER = "Not a medical device. The locator learnt on synthetic scans alone; look at the picture before you use it."
MARGIN_MM = 25.0
"""Shown around the vertebrae."""


def locate_scan(scan: Path, out: Path) -> Kind:
    """Name the vertebrae of a scan; print, save and draw what came out.

    Parameters
    ----------
    scan : Path
        A folder with the DICOM files of a series, one of these files, or a NIfTI file.
    out : Path
        The folder that gets <name>-levels.nii.gz, .json and .png.

    Returns
    -------
    Kind
        What is thought of the outcome.

    Raises
    ------
    InputError
        If the scan can't be read.
    """
    volume = read_scan(scan)
    named = name_vertebrae(volume)
    verdict, labels = named.located.verdict, named.located.labels
    coverage = level_coverage(labels, named.small)
    print(f"verdict: {verdict.kind}")
    for reason in (*verdict.reasons, *volume.notes):
        print(f"note: {reason}")
    for level in LEVELS:
        there = coverage["levels"].get(level) if level in verdict.levels else None
        cut = ", cut off by the scan's edge" if there and there["cut_off"] else ""
        print(f"{level}  " + (f"{there['height_mm']:.0f} mm high{cut}" if there else "not in view"))
    print(DISCLAIMER)
    name = scan.resolve().name.split(".nii")[0]
    target = out / f"{name}-levels.nii.gz"
    with storage.locked(out, "locate-scan"):
        write_label_map(target, labels, named.small.affine)
        storage.write_json(
            out / f"{name}-levels.json",
            {
                "scan": str(scan),
                "verdict": verdict.as_json(),
                "levels": coverage["levels"],
                "notes": list(volume.notes),
                "disclaimer": DISCLAIMER,
            },
        )
        picture = out / f"{name}-levels.png"
        storage.write_bytes(picture, png(levels_picture(named, name)))
    cli.log_stage("locate-scan", read=scan, wrote=f"{target}, .json and {picture}", verdict=verdict.kind)
    return verdict.kind


def levels_picture(named: NamedScan, title: str) -> Figure:
    """Draw a sagittal and a coronal plane through the vertebrae that were found, their outlines and names.

    Parameters
    ----------
    named : NamedScan
        The scan and its label map.
    title : str
        The figure's title; the verdict follows it.

    Returns
    -------
    Figure
        Two panels; the middle of the scan where nothing was found.
    """
    labels, hu = named.located.labels, named.small.hu
    cervical = np.argwhere((labels >= 1) & (labels <= len(LEVELS)))
    middle = np.median(cervical, axis=0) if len(cervical) else (np.array(hu.shape) - 1) / 2
    spacing = named.small.spacing_mm
    # a little before the middle of all voxels the planes go through the bodies
    at_y, at_x = int(middle[1] - (8 / spacing[1] if len(cervical) else 0)), int(middle[2])
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    sagittal, coronal = figure.subplots(1, 2)
    _plane(sagittal, hu[:, :, at_x], labels[:, :, at_x], (spacing[0], spacing[1]))
    _plane(coronal, hu[:, at_y], labels[:, at_y], (spacing[0], spacing[2]))
    sagittal.set_title("sagittal, front on the left", fontsize=9)
    coronal.set_title("coronal, the patient's right on the left", fontsize=9)
    figure.suptitle(f"{title}: {named.located.verdict.kind}\n{DISCLAIMER}", fontsize=9)
    return figure


def _plane(axes: Axes, hu: np.ndarray, labels: np.ndarray, spacing: tuple[float, float]) -> None:
    """One plane (z, across), cut to the vertebrae's surroundings, with outlines and names."""
    here = np.argwhere(labels > 0)
    extent = (0, hu.shape[1] * spacing[1], hu.shape[0] * spacing[0], 0)
    axes.imshow(
        hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], extent=extent, interpolation="bilinear"
    )
    z, across = ((np.arange(n) + 0.5) * mm for n, mm in zip(hu.shape, spacing, strict=True))
    for number, name in enumerate((*LEVELS, "T"), start=1):
        part = labels == number
        if not part.any():
            continue
        colour = COLOURS[number - 1] if number <= len(LEVELS) else "#bbbbbb"
        smooth = ndimage.gaussian_filter(part.astype(float), 0.5)
        axes.contour(across, z, smooth, [0.4], colors=[colour], linewidths=1.2)
        row, column = ndimage.center_of_mass(part)
        label = axes.text(
            across[int(column)], z[int(row)], name, color=colour, fontsize=9, ha="center", va="center"
        )
        label.set_fontweight("bold")
    if len(here):
        low, high = here.min(axis=0) * spacing - MARGIN_MM, (here.max(axis=0) + 1) * spacing + MARGIN_MM
        axes.set_ylim(min(high[0], extent[2]), max(low[0], 0))
        axes.set_xlim(max(low[1], 0), min(high[1], extent[1]))
    axes.set_axis_off()
