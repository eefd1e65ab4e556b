"""Stored values become Hounsfield units, and whether these can be believed."""

import numpy as np

from cspine.dicom.header import SliceHeader

AIR_HU = -1000
SAMPLED_VOXELS = 200_000
"""How many voxels the check looks at, spread over the whole scan."""
TISSUE_HU, DENSE_HU, BODY_HU, AIR_BELOW_HU, VOID_HU = 200, 700, -500, -800, -1150
"""Below TISSUE_HU lie fat, muscle, organs and blood; above DENSE_HU compact bone and metal; above BODY_HU all
that is not air or lung; below VOID_HU nothing in a patient, only padding."""
AIR_SHARE, AIR_ERROR_HU, SOFT_HU = 0.05, 40, (-110, 110)
"""With this share of the voxels around -1000, off by no more than that, and soft tissue between these, two points
fix the scale."""


def to_hu(stored: np.ndarray, header: SliceHeader, target: np.ndarray) -> None:
    """Turn stored values into Hounsfield units, slope * stored + intercept, in int16.

    Bits above BitsStored are dropped; the padding value, or the range from it to PixelPaddingRangeLimit,
    becomes air. MONOCHROME1 changes nothing: it says that the lowest value is displayed white after the VOI
    transformation, and the modality rescaling comes before that.

    Parameters
    ----------
    stored : ndarray of integers, shape (rows, columns)
        The pixels as `decode` returns them.
    header : SliceHeader
        The slice's header.
    target : ndarray of int16, shape (rows, columns)
        Written to, clipped to its range.

    References
    ----------
    DICOM PS3.3 C.11.1.1.2 (rescaling), C.7.5.1.1.2 (padding), C.7.6.3.1.2 (MONOCHROME1), C.11.1 (the order).
    """
    raw, offset = stored, int(header.intercept)
    width = stored.dtype.itemsize * 8
    bits = header.bits_stored or header.bits_allocated or width
    low, high = _range(stored, bits, offset)
    first = -(1 << (bits - 1)) if header.signed else 0
    if low < first or high >= first + (1 << bits):
        stored = (stored << (width - bits)) >> (width - bits)
        low, high = int(stored.min()), int(stored.max())
    whole = header.slope == 1 and offset == header.intercept and width == 16
    if whole and min(low, low + offset) >= -32768 and max(high, high + offset) <= 32767:
        np.add(stored.view(np.int16), np.int16(offset), out=target)
    else:
        exact = stored * np.float64(header.slope) + header.intercept
        target[...] = np.clip(np.rint(exact), -32768, 32767)
    if header.padding is not None:
        target[_padded(raw, header, header.padding, bits)] = AIR_HU


def _range(stored: np.ndarray, bits: int, offset: int) -> tuple[int, int]:
    """Lowest and highest stored value, as exactly as anything can depend on: a pass over the pixels costs."""
    if stored.dtype.kind == "u":
        return 0, int(stored.max())
    full = bits == stored.dtype.itemsize * 8
    low = int(stored.min()) if offset < 0 or not full else 0
    return low, int(stored.max()) if offset > 0 or not full else 0


def _padded(raw: np.ndarray, header: SliceHeader, value: int, bits: int) -> np.ndarray:
    """Where a pixel is padding, bool (rows, columns); value: PixelPaddingValue as read without a sign.

    The tag may be written unsigned for signed pixels and the other way round, and its value may use bits
    above BitsStored: values are compared as the bits that they are, and as the number of BitsStored bits.
    """
    unsigned = raw.view(f"u{raw.dtype.itemsize}")
    mask = unsigned.dtype.type((1 << bits) - 1)
    # the two bytes of the tag stand for a negative number in wider pixels, too
    wide = value - 65536 if header.signed and value > 32767 else value
    padding = unsigned.dtype.type(wide & ((1 << raw.dtype.itemsize * 8) - 1))
    limit = header.padding_limit
    if limit is None:
        return (unsigned == padding) | ((unsigned & mask) == (padding & mask))
    limit = limit - 65536 if header.signed and limit > 32767 else limit
    low, high = sorted((wide, limit))
    return (raw >= low) & (raw <= high)


def doubt_of(hu: np.ndarray) -> str:
    """Say why a scan's Hounsfield units can't be trusted.

    Looks at a sample: air has to lie near -1000, soft tissue near 50. Where both do, slope and intercept are
    right, whatever else a head, a chest or metal adds. A stack cropped to the inside of a body, without air, is
    fine.

    Parameters
    ----------
    hu : ndarray of int16, shape (z, y, x)
        The scan.

    Returns
    -------
    str
        The reason in words; empty if they can be trusted.
    """
    every = max(round((hu.size / SAMPLED_VOXELS) ** (1 / 3)), 1)
    sample = hu[::every, ::every, ::every].ravel()
    body = sample[sample > BODY_HU]
    if len(body) < 0.01 * len(sample):
        return (
            f"only {len(body) / len(sample):.1%} of the voxels lie above {BODY_HU} HU, the rest would be air"
        )
    outside = sample[(sample > VOID_HU) & (sample < AIR_BELOW_HU)]
    if len(outside) > AIR_SHARE * len(sample):
        soft = sample[(sample > SOFT_HU[0] - 100) & (sample < SOFT_HU[1] + 100)]
        anchored = abs(float(np.median(outside)) - AIR_HU) <= AIR_ERROR_HU and len(soft) > 0.4 * len(body)
        if anchored and SOFT_HU[0] <= float(np.median(body)) <= SOFT_HU[1]:
            return ""
    middle, dense, bone = float(np.median(body)), (body > DENSE_HU).sum(), (body > TISSUE_HU).sum()
    if not -200 <= middle <= 300:
        return f"the median of all that is not air is {middle:.0f} HU; expected soft tissue near 50"
    if dense > 0.02 * len(body) and dense > 0.75 * bone:
        return (
            f"{dense / len(body):.0%} of what is not air lies above {DENSE_HU} HU; expected compact bone only"
        )
    void, air = (sample < VOID_HU).sum(), ((sample > VOID_HU) & (sample < AIR_BELOW_HU)).sum()
    if void > 0.05 * len(sample) and air < void / 30:
        return f"{void / len(sample):.0%} of the voxels lie below {VOID_HU} HU; expected air near {AIR_HU}"
    between = ((sample > AIR_BELOW_HU) & (sample < -250)).sum()
    if between > 0.35 * (sample > AIR_BELOW_HU).sum():
        return (
            f"{between / len(sample):.0%} of the voxels lie between air and fat; expected air near {AIR_HU}"
        )
    return ""
