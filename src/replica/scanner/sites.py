"""The twelve sites' habits at the scanner: together they meet the original's shares of every quantity."""

from dataclasses import dataclass

EXPLICIT_LE, IMPLICIT_LE, JPEG_LOSSLESS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"
BONE, BONE_AND_SOFT, BODY = ((400,), (2000,)), ((400, 50), (2000, 400)), ((450,), (1500,))  # centres, widths


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel's transfer of detail, (1 + boost * t) * exp(-t) with t = (f / cutoff)^2.

    Without boost it only smooths; above a boost of 1 it lifts fine detail over coarse, so that edges overshoot.
    """

    cutoff_per_mm: float
    boost: float


@dataclass(frozen=True)
class Site:
    """One site's scanners, and how its people use and store them."""

    steps: tuple[tuple[float, float, float], ...]  # step mm, SliceThickness mm, share of its studies
    spacing_mm: float  # median pixel
    kernel: Kernel
    noise_hu: float  # in the middle of the neck
    slack_mm: float  # mean length scanned beyond C1-C7
    above: float  # mean share of that which lies above C1
    off_centre_mm: float  # SD of the neck's place beside the middle of the picture
    stored: tuple[bool, int]  # signed 16 bit or unsigned 12 bit, RescaleIntercept
    syntax: str
    feet_first: float  # share of series numbered from the feet
    windows: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]  # one of these, each equally often


SIGNED, SIGNED_HU, UNSIGNED = (True, -1024), (True, 0), (False, -1024)
SHARP, EDGY, MIDDLE, SOFT = Kernel(0.57, 2.4), Kernel(0.54, 3.0), Kernel(0.56, 1.5), Kernel(0.48, 0.6)

# Source of the shares: the header tables of all 2,019 training studies. Which site has which is not published;
# the table is the flattest one that meets the totals of every step and thickness with the sites' numbers of
# patients (Table 1 of the paper). JPEG Lossless is left to 12 % of the studies: 350 GB for 711,601 slices leave
# room for no more, as such a slice takes about 0.45 of the 525 kB of a plain one.
SITES = {
    1: Site(((0.625, 0.625, 0.772), (0.3125, 0.625, 0.168), (0.5, 0.625, 0.06)),
            0.39, SHARP, 40, 44, 0.42, 4, SIGNED, EXPLICIT_LE, 0.07, (BONE,)),
    2: Site(((0.4, 0.5, 0.8), (0.5, 0.5, 0.085), (0.3, 0.5, 0.115)),
            0.43, MIDDLE, 36, 48, 0.45, 5, SIGNED_HU, EXPLICIT_LE, 0.0, (BODY,)),
    3: Site(((1.0, 1.0, 0.54), (0.8, 1.0, 0.307), (0.4, 1.0, 0.131), (2.0, 2.0, 0.022)),
            0.45, MIDDLE, 30, 58, 0.40, 5, UNSIGNED, IMPLICIT_LE, 0.12, (BONE, BONE_AND_SOFT)),
    4: Site(((0.625, 0.625, 0.822), (0.3125, 0.625, 0.178)),
            0.41, EDGY, 46, 46, 0.38, 6, SIGNED, EXPLICIT_LE, 0.13, (BONE, ((500,), (2500,)))),
    5: Site(((0.4, 0.6, 0.494), (0.45, 0.6, 0.113), (0.3, 0.6, 0.03), (0.8, 1.0, 0.346), (0.7, 0.75, 0.017)),
            0.40, SHARP, 44, 50, 0.45, 4, UNSIGNED, EXPLICIT_LE, 0.0, (BONE_AND_SOFT,)),
    6: Site(((1.0, 1.0, 0.959), (2.0, 2.0, 0.041)),
            0.48, SOFT, 22, 64, 0.50, 8, UNSIGNED, EXPLICIT_LE, 0.4, (((300,), (1500,)),)),
    7: Site(((0.625, 0.625, 0.62), (0.3125, 0.625, 0.135), (0.5, 0.625, 0.048), (1.0, 1.0, 0.197)),
            0.40, SHARP, 38, 50, 0.42, 5, SIGNED, EXPLICIT_LE, 0.08, (BONE, BODY)),
    8: Site(((0.4, 0.5, 0.522), (0.5, 0.5, 0.056), (0.8, 1.0, 0.296), (0.4, 1.0, 0.126)),
            0.46, MIDDLE, 28, 56, 0.35, 6, SIGNED_HU, JPEG_LOSSLESS, 0.12, (BONE,)),
    9: Site(((1.0, 1.0, 0.419), (0.5, 1.0, 0.437), (0.45, 0.9, 0.144)),
            0.50, SOFT, 24, 60, 0.50, 9, UNSIGNED, IMPLICIT_LE, 0.3, (((40, 400), (400, 1800)),)),
    10: Site(((0.5, 1.0, 0.641), (0.4, 1.0, 0.149), (0.45, 0.9, 0.21)),
             0.37, SHARP, 34, 42, 0.45, 3, SIGNED, JPEG_LOSSLESS, 0.12, (((450,), (2000,)),)),
    11: Site(((0.625, 0.625, 0.808), (0.3125, 0.625, 0.176), (1.25, 1.25, 0.016)),
             0.42, EDGY, 48, 48, 0.40, 6, SIGNED, EXPLICIT_LE, 0.1, (((500,), (2500,)),)),
    12: Site(((0.625, 0.625, 0.667), (1.0, 1.0, 0.212), (0.8, 1.0, 0.121)),
             0.43, MIDDLE, 36, 50, 0.42, 5, UNSIGNED, EXPLICIT_LE, 0.17, (BONE, BONE_AND_SOFT)),
}  # fmt: skip
