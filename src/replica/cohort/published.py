"""What is published of the competition's patients: the paper's tables and the sums over the public train.csv.

Source: Lin et al., "The RSNA Cervical Spine Fracture CT Dataset", Radiology: Artificial Intelligence
2023;5(5):e230034, Tables 1 and 2. The total age of Table 1 (53.78 years) is left out: its own
sites, its positives and negatives, and Table 2's splits all give 53.48. So is the youngest patient of the
training set (16 years in Table 2), who is at none of Table 1's sites.
"""

import pandas as pd

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")

_AGES = ["age_mean", "age_sd", "youngest", "oldest"]
_COLUMNS = ["M", "F", *_AGES, "positive", "negative", *LEVELS]

# Table 1: studies, ages in years, and broken levels at each site
SITES = pd.DataFrame(
    [
        [212, 115, 61.37, 20.98, 19, 97, 169, 158, 32, 47, 11, 23, 24, 41, 68],
        [68, 67, 52.74, 24.35, 18, 101, 92, 43, 15, 30, 4, 12, 13, 26, 33],
        [175, 112, 58.57, 22.34, 18, 97, 100, 187, 15, 23, 10, 13, 20, 28, 44],
        [245, 108, 45.86, 19.19, 18, 92, 182, 171, 34, 50, 28, 32, 48, 62, 75],
        [223, 133, 51.03, 20.95, 18, 95, 176, 180, 26, 58, 17, 18, 30, 60, 76],
        [37, 29, 47.83, 21.92, 18, 92, 30, 36, 2, 12, 3, 4, 4, 4, 11],
        [234, 188, 60.22, 22.32, 18, 104, 187, 235, 28, 59, 17, 25, 35, 41, 62],
        [176, 60, 42.91, 19.28, 18, 92, 96, 140, 18, 13, 10, 22, 25, 34, 34],
        [31, 8, 44.10, 17.81, 19, 72, 11, 28, 0, 8, 2, 1, 1, 2, 1],
        [94, 55, 47.38, 19.64, 20, 90, 41, 108, 4, 9, 6, 4, 7, 20, 15],
        [207, 80, 50.83, 18.74, 18, 93, 144, 143, 35, 50, 9, 15, 29, 46, 67],
        [274, 181, 57.17, 21.68, 18, 99, 217, 238, 32, 62, 21, 28, 49, 71, 88],
    ],
    columns=_COLUMNS,
    index=pd.RangeIndex(1, 13, name="site"),
)
# Table 2: the same by split
SPLITS = pd.DataFrame(
    [
        [1278, 741, 53.65, 21.57, 18, 104, 961, 1058, 146, 285, 73, 108, 162, 277, 393],
        [189, 115, 52.51, 20.73, 18, 101, 122, 182, 26, 32, 8, 7, 17, 30, 55],
        [509, 280, 53.40, 22.86, 18, 101, 362, 427, 69, 104, 57, 82, 106, 128, 126],
    ],
    columns=_COLUMNS,
    index=pd.Index(["train", "public", "private"], name="split"),
)
# Table 1's columns of patients without (0) and with (1) a fracture
LABELS = pd.DataFrame(
    [[1022, 645, 50.61, 21.29], [954, 491, 56.78, 21.97]], columns=["M", "F", "age_mean", "age_sd"]
)
STUDIES = int(SPLITS[["M", "F"]].to_numpy().sum())

# the training set's positives: how many have 1 to 7 broken levels, and the commonest combinations
COUNTS = (623, 239, 64, 26, 7, 2, 0)
COMMON = {
    ("C7",): 223, ("C2",): 180, ("C6",): 82, ("C6", "C7"): 77, ("C1",): 64, ("C1", "C2"): 42, ("C5", "C6"): 36,
}  # fmt: skip
# correlation phi of two levels over the training set; that of every other pair is within OTHER_PHI of zero
PHI = {
    ("C1", "C2"): 0.19, ("C2", "C3"): 0.10, ("C3", "C4"): 0.30, ("C4", "C5"): 0.34, ("C5", "C6"): 0.36,
    ("C6", "C7"): 0.28, ("C3", "C5"): 0.16,
}  # fmt: skip
OTHER_PHI = 0.1
