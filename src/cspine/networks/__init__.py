"""The locator, the classifier, and their checkpoints."""
