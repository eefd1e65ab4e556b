"""One patient's build, and the vertebrae that follow from it."""
