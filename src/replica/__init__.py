"""The replica: a synthetic competition with the files, headers, quirks and statistics of the real one.

It shares no code with `cspine`, so that a mistake in one cannot hide in the other.
"""
