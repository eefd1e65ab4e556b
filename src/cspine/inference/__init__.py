"""Trained networks asked about one study or many."""
