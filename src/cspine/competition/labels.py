"""What is predicted and what it weighs: levels, prediction types, weights, the published counts."""

from dataclasses import dataclass

import numpy as np

SLUG = "rsna-2022-cervical-spine-fracture-detection"
LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
OVERALL = "patient_overall"
PREDICTION_TYPES = (*LEVELS, OVERALL)

# WEIGHTS[truth, type]: first row without, second row with a fracture; columns as PREDICTION_TYPES.
WEIGHTS = np.array([[1.0] * 7 + [7.0], [2.0] * 7 + [14.0]])
WEIGHTS.setflags(write=False)


def weights_of(truth: np.ndarray) -> np.ndarray:
    """Give the metric's weight of every row.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1, columns as PREDICTION_TYPES.

    Returns
    -------
    ndarray of float64, shape (n, 8)
        The weights.
    """
    return np.where(np.asarray(truth) > 0.5, WEIGHTS[1], WEIGHTS[0])


@dataclass(frozen=True)
class Counts:
    """How many studies a set holds, and how many of them are positive in each of the eight columns."""

    studies: int
    positives: tuple[int, ...]

    def rates(self) -> np.ndarray:
        """Give the share of positive studies of each column.

        Returns
        -------
        ndarray of float64, shape (8,)
            The shares, columns as PREDICTION_TYPES.
        """
        return np.array(self.positives) / self.studies


# Lin et al., Radiology: Artificial Intelligence 2023;5(5):e230034, Table 2; the last column is "positive".
PUBLISHED = {
    "train": Counts(2019, (146, 285, 73, 108, 162, 277, 393, 961)),
    "public": Counts(304, (26, 32, 8, 7, 17, 30, 55, 122)),
    "private": Counts(789, (69, 104, 57, 82, 106, 128, 126, 362)),
}
