"""Kaggle's folders on this machine: the inference kernel's script, its attached inputs, its working folder."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "kernels" / "inference" / "inference.py"
RERUN = "KAGGLE_IS_COMPETITION_RERUN"


@dataclass
class Kaggle:
    """Kaggle's folders: the attached inputs and the working folder."""

    inputs: Path
    working: Path
    data: Path
    code: Path
    models: Path

    def weights(self, fold: int, kind: str = "classifier") -> Path:
        return self.models / "models" / kind / f"fold{fold}" / "model.safetensors"

    def start(self, scored: bool = False, **environment: str) -> subprocess.Popen:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", RERUN)}
        kept |= {"HF_HUB_OFFLINE": "1", "HOME": "/proc/none"} | ({RERUN: "1"} if scored else {}) | environment
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.inputs)],
            cwd=self.working, env=kept, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, scored: bool = False, **environment: str) -> tuple[int, str]:
        process = self.start(scored, **environment)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def rows(self) -> pd.DataFrame:
        """The submission, checked against the sample as it lies there."""
        frame = pd.read_csv(self.working / "submission.csv")
        with (self.data / "sample_submission.csv").open(encoding="utf-8-sig", newline="") as file:
            ids = [row["row_id"] for row in csv.DictReader(file)]
        assert list(frame["row_id"]) == ids
        assert frame["fractured"].between(0, 1).all()
        return frame

    def report(self) -> dict[str, Any]:
        return json.loads((self.working / "inference.json").read_text())

    def reasons(self) -> dict[str, str]:
        return dict(pd.read_csv(self.working / "fallbacks.csv", dtype=str).itertuples(index=False))
