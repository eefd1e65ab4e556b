"""Cervical spine fractures on CT: from DICOM series to the competition's eight probabilities a study."""

import os

__version__ = "0.1.0"

if hasattr(os, "getuid"):
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:  # a container's user without an account, whom torch asks for a name when it is imported
        os.environ.setdefault("USER", f"uid-{os.getuid()}")
