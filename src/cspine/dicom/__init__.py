"""A folder of DICOM files becomes a Volume in Hounsfield units."""
