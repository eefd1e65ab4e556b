"""Cervical spine fractures on CT: from DICOM series to the competition's eight probabilities a study."""

__version__ = "0.1.0"
