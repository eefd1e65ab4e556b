"""What people drew: boxes around fractures, masks of vertebrae."""
