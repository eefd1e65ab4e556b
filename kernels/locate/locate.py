"""Kaggle kernel: the locator's folds, and a label map of every scan.

It goes on from its own last version's output where that is attached. To try it elsewhere: `python locate.py INPUTS`.
"""

import sys
from pathlib import Path

INPUTS = Path(sys.argv[1] if len(sys.argv) > 1 else "/kaggle/input")
FOUND = [path for depth in range(1, 5) for path in sorted(INPUTS.glob("*/" * depth + "cspine-code.json"))]
if not FOUND:
    sys.exit(f"no input under {INPUTS} holds cspine-code.json: attach the dataset with the code")
sys.path.insert(0, str(FOUND[0].parent / "src"))

from cspine.kaggle.packages import start  # noqa: E402

sys.exit(start("locate", FOUND[0].parent, INPUTS, sys.argv[2:]))
