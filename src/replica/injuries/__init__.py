"""Fractures, mimics of fractures, and how both are painted into the bone."""
