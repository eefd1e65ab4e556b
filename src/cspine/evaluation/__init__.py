"""What a run is worth: calibration, out-of-fold scores, pictures, the report."""
