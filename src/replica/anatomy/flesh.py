"""What makes one patient's soft tissue and skull unlike the next: every variable is continuous."""

from dataclasses import dataclass

import numpy as np

COLLAR_SHARE, CONTRAST_SHARE, HOLDER_SHARE, TUBE_SHARE, WIRES_SHARE, EARRING_SHARE = (
    0.35, 0.25, 0.7, 0.09, 0.3, 0.12,
)  # fmt: skip


@dataclass(frozen=True)
class Flesh:
    """One patient's soft tissue, face and what lies around the patient on the couch."""

    bulk: float  # of the muscles, 1 in the middle
    streaks: float  # share of fat in the muscles, 0 .. 1
    face_fat: float  # fat before the muscles of face and throat as a share of that at the nape
    shrug_mm: float  # shoulders up (+) or pulled down (-)
    gape: float  # opening of the jaw, radians
    jaw_wide: float  # width and length of the jaw
    jaw_long: float
    chin_mm: float  # height of the jaw's body
    throat_mm: float  # how far the larynx sits below its usual level
    airway: float  # width of the throat
    nose_mm: float
    septum_mm: float  # bend of the nasal septum
    missing: float  # share of teeth lost
    aeration: float  # air cells of the mastoid, 0 none .. 1 all
    fluid: float  # share of the maxillary sinus that fluid fills
    calcified: float  # of cartilage and arteries, 0 .. 1
    contrast_hu: float  # in the arteries, 0 without contrast
    thyroid_hu: float
    gland_hu: float
    mattress_mm: float
    collar_mm: float  # width of the collar's gap before the skin, 0 without a collar
    holder: bool  # a head holder
    tube: bool  # a tube in the trachea and one in the stomach
    wires: bool  # leads of an electrocardiogram
    earrings: bool


def draw_flesh(sex: str, age: int, wear: float, rng: np.random.Generator) -> Flesh:
    """Draw one patient's flesh: men have more muscle and larger jaws; age brings fat streaks and calcium.

    Parameters
    ----------
    sex : str
        "M" or "F".
    age : int
        Years.
    wear : float
        Of the skeleton: 0 young to 1 worn, and beyond.
    rng : numpy.random.Generator
        The patient's own.

    Returns
    -------
    Flesh
        Soft tissue, face and what lies around the patient.
    """
    man = sex == "M"
    years = float(np.clip((age - 20) / 65, 0, 1.2))
    tube = bool(rng.random() < TUBE_SHARE)
    spread = rng.standard_normal(14)
    return Flesh(
        bulk=float(np.clip((1.06 if man else 0.94) - 0.08 * years + 0.09 * spread[0], 0.75, 1.3)),
        streaks=float(np.clip(0.1 + 0.6 * years**1.5 + 0.15 * spread[1], 0, 1)),
        face_fat=float(np.clip(0.6 * np.exp(0.3 * spread[2]), 0.3, 1.3)),
        shrug_mm=float(np.clip(15 * spread[3] - 2, -26, 38)),
        gape=float(np.clip(0.06 * abs(spread[4]) + (0.16 if tube else 0.0), 0, 0.33)),
        jaw_wide=float(np.clip((1.02 if man else 0.97) + 0.05 * spread[5], 0.85, 1.15)),
        jaw_long=float(np.clip(1 + 0.05 * spread[6], 0.88, 1.12)),
        chin_mm=float((30 if man else 27) + 2.0 * spread[7] - 4 * max(wear - 0.8, 0)),
        throat_mm=float((4 if man else 0) + 5 * years + 4.0 * spread[8]),
        airway=float(np.clip(1 + 0.17 * spread[9], 0.6, 1.4)),
        nose_mm=float(2.5 * spread[10]),
        septum_mm=float(2.2 * spread[11]),
        missing=float(np.clip(rng.beta(0.5, 3.0) + 0.5 * years**3 * rng.random() ** 1.5, 0, 1)),
        aeration=float(np.clip(0.85 - abs(rng.normal(0, 0.3)), 0, 1)),
        fluid=float(np.clip(rng.normal(-0.35, 0.4), 0, 0.9)),
        calcified=float(np.clip(years * (1.15 if man else 0.85) + 0.25 * spread[12] - 0.15, 0, 1)),
        contrast_hu=float(rng.uniform(180, 380)) if rng.random() < CONTRAST_SHARE else 0.0,
        thyroid_hu=float(np.clip(108 + 12 * spread[13], 70, 140)),
        gland_hu=float(rng.normal(20, 14) - 18 * years),
        mattress_mm=float(rng.uniform(5, 26)),
        collar_mm=float(rng.uniform(7, 16)) if rng.random() < COLLAR_SHARE else 0.0,
        holder=bool(rng.random() < HOLDER_SHARE),
        tube=tube,
        wires=bool(rng.random() < WIRES_SHARE),
        earrings=bool(rng.random() < EARRING_SHARE * (0.4 if man else 1.6)),
    )
