"""Kaggle inference kernel: the competition's data and the attached bundle -> submission.csv, without a network.

Inputs are recognised by a marker file, wherever Kaggle mounts them. To try it elsewhere, name the folder that
stands for /kaggle/input: `python inference.py FOLDER` (submission.csv appears in the current folder).
"""

import subprocess
import sys
from pathlib import Path

NAMED = [Path(word) for word in sys.argv[1:] if Path(word).is_dir()]
INPUTS = NAMED[0] if NAMED else Path("/kaggle/input")


def folder_with(marker: str, depth: int = 6) -> Path:
    """The first input folder that holds the file `marker`; image folders are not searched."""
    level = [INPUTS] if INPUTS.is_dir() else []
    for _ in range(depth):
        for folder in level:
            if (folder / marker).is_file():
                return folder
        inner = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
        level = [folder for folder in inner if not folder.name.endswith("_images")]
    sys.exit(f"no input under {INPUTS} holds {marker}: attach the competition's data and the bundle dataset")


if __name__ == "__main__":  # decoding runs in processes that import this file again
    bundle = folder_with("cspine-bundle.json")
    wheels = sorted((bundle / "wheels").glob("*.whl"))
    if wheels:
        names = sorted({wheel.name.split("-")[0] for wheel in wheels})
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--find-links"]
        subprocess.run([*pip, str(bundle / "wheels"), *names], check=True)
    sys.path.insert(0, str(bundle / "src"))
    from cspine.kaggle.kernel import main

    sys.exit(main(folder_with("sample_submission.csv"), bundle / "models", Path.cwd()))
