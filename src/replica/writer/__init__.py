"""The replica on disk: DICOM files, tables, truth; resumable, the same bytes always."""
