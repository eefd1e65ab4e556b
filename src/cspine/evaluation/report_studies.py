"""Pictures of studies for the report: typical ones, and the errors that cost most."""

from dataclasses import dataclass

import numpy as np

from cspine.competition.labels import LEVELS
from cspine.competition.metric import weighted_losses
from cspine.evaluation.page import Picture, Section
from cspine.evaluation.study_picture import study_panels
from cspine.execution.store import StudyStore
from cspine.preprocessing.column import Column
from cspine.preprocessing.stacks import deciding_mm
from cspine.settings.presets import Preset


@dataclass(frozen=True)
class Found:
    """Out-of-fold values beside the truth."""

    uids: list[str]
    values: np.ndarray
    """Submitted values, float64 (n, 8)."""
    truth: np.ndarray
    """Labels, float64 (n, 8)."""

    def costs(self) -> np.ndarray:
        """Give what each study costs on the leaderboard's form.

        Returns
        -------
        ndarray of float64, shape (n,)
            Share of the sum of all weighted losses; their sum is 1.
        """
        loss = weighted_losses(self.truth, self.values)[0].sum(axis=1)
        return loss / loss.sum()


@dataclass(frozen=True)
class Gallery:
    """Where the pictures come from."""

    columns: StudyStore
    preset: Preset
    slice_logits: dict[str, np.ndarray]
    studies: int
    """How many are shown of each kind."""


def study_sections(found: Found, gallery: Gallery) -> list[Section]:
    """Show typical and badly predicted studies.

    Parameters
    ----------
    found : Found
        Values and truth.
    gallery : Gallery
        Where the pictures come from.

    Returns
    -------
    list of Section
        Fractured studies, whole ones, and the worst errors.
    """
    costs = found.costs()
    order = [int(n) for n in np.argsort(costs, kind="stable") if gallery.columns.has(found.uids[int(n)])]
    positive = [n for n in order if found.truth[n, 7]]
    negative = [n for n in order if not found.truth[n, 7]]
    explained = (
        "Levels are outlined and named as the locator saw them; × marks a true fracture, a dashed rectangle an "
        "annotated box. The two levels from above are the truly fractured ones, the one rated lowest first, then the "
        "likeliest others, each in the slice that its network rated highest."
    )
    typical = "From the best to the median prediction."
    kinds = {
        "Fractured studies": (f"{typical} {explained}", positive[: max(len(positive) // 2, 1)]),
        "Studies without a fracture": (typical, negative[: max(len(negative) // 2, 1)]),
        "The worst errors": (
            "The studies that cost most on the leaderboard's form, out of fold, the costliest first.",
            order[::-1][: gallery.studies],
        ),
    }
    sections = []
    for title, (words, numbers) in kinds.items():
        places = np.linspace(0, len(numbers) - 1, min(gallery.studies, len(numbers)))
        chosen = [numbers[int(place)] for place in places]
        pictures = [_picture(found, number, float(costs[number]), gallery) for number in chosen]
        sections.append(Section(title, (words,), pictures=pictures))
    return sections


def _picture(found: Found, number: int, cost: float, gallery: Gallery) -> Picture:
    """Caption and panels of one study."""
    uid = found.uids[number]
    column = Column.load(*gallery.columns.read(uid))
    truth, values = found.truth[number], found.values[number]
    logits = gallery.slice_logits.get(uid)
    decided = None if logits is None else deciding_mm(column, logits, gallery.preset.stacks)
    broken = [level for level, there in zip(LEVELS, truth, strict=False) if there] or ["none"]
    caption = (
        f"Study {uid}, fractured: {', '.join(broken)}; {100 * cost:.2f} % of the whole loss "
        f"({cost * len(found.uids):.1f} times a study's mean); window {gallery.preset.column.window_name}"
    )
    if column.notes:
        caption += f"; notes: {'; '.join(column.notes)}"
    return Picture(caption, study_panels(column, values, truth, decided), in_a_row=True)
