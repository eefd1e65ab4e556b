"""Published figures of the competition's data, which the replica is held against.

Source: Lin et al., "The RSNA Cervical Spine Fracture CT Dataset", Radiology: Artificial Intelligence
2023;5(5):e230034, Tables 1 and 2, and figures computed over the competition's public label and header tables.
Written down here anew, not taken from the replica, so that a slip there shows here.
Counts of positives are in `cspine.competition.labels`, heights of the levels in `cspine.preprocessing.masks`.
"""

TRAIN_STUDIES = 2019
# quantile in per cent -> value
SLICES = {0: 69, 5: 198, 25: 257, 50: 314, 75: 429, 95: 626, 100: 1082}
EXTENT_MM = {0: 48, 5: 154, 50: 198, 95: 248, 100: 334}
PIXEL_MM = {0: 0.19, 100: 0.71}
BOXES = {0: 2, 50: 24, 100: 167}
BOXES_MEAN = 7217 / 235
# mm -> training studies
THICKNESS_MM = {0.625: 1041, 1.0: 618, 0.5: 176, 0.6: 147, 0.9: 24}
STEP_MM = {0.625: 869, 0.4: 322, 1.0: 269, 0.8: 218, 0.3125: 146, 0.5: 114, 0.45: 50}
TYPICAL_PIXEL_MM = (0.35, 0.5)
MATRICES = {(512, 512): 2016, (768, 768): 2, (512, 519): 1}
FEET_FIRST, NUMBERED_FROM_2, NUMBERED_FROM_59 = 197, 9, 1
# training studies by their number of broken levels, 1 to 6, and phi of pairs of levels
BROKEN_LEVELS = (623, 239, 64, 26, 7, 2)
PHI = {("C1", "C2"): 0.19, ("C2", "C3"): 0.10, ("C3", "C4"): 0.30, ("C4", "C5"): 0.34, ("C5", "C6"): 0.36,
       ("C6", "C7"): 0.28, ("C3", "C5"): 0.16}  # fmt: skip
BOXED, MASKED, BOXED_AND_MASKED = 235, 87, 40
MEN = 1278
AGE_MEAN, AGE_SD = 53.65, 21.57
POSITIVE_AGE_MEAN, NEGATIVE_AGE_MEAN = 56.78, 50.61  # of all three sets together
# masks, after stray voxels are removed
OVERLAP_MM = (11.0, 22.0)
COLUMN_MM, COLUMN_SD_MM, COLUMN_RANGE_MM = 127.0, 13.0, (97.0, 166.0)
COLUMN_SHARE = 0.64  # of the scan's extent
