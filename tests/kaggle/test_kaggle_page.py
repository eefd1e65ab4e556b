"""The commands of docs/kaggle.md, in their order, as a person gives them: make, the genuine client, a stand-in."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.kaggle_server import KEY, Standin

from cspine.competition.rows import long
from cspine.kaggle.marker import CODE, write_marker

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "kaggle.md").read_text()
BLOCKS = re.findall(r"^```sh\n# needs Kaggle credentials\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


class Obliging(Standin):
    """A Kaggle on which every kernel does its work in no time."""

    def SaveKernel(self, asked):
        answer = super().SaveKernel(asked)
        kernel, name = self.kernels[asked["slug"]], asked["slug"].rsplit("-", 1)[1]
        sample = self.files["sample_submission.csv"]
        summary = {
            "done": 5,
            "studies": 5,
            "failed": {},
            "complete": True,
            "problem": "",
            "hours": 1,
            "gigabytes": 1,
        }
        kernel.outputs = {
            f"cspine-{name}.json": json.dumps(summary).encode(),
            "submission.csv": sample,
            "inference.json": b"{}",
        }
        return answer


@pytest.mark.slow
def test_the_page_leads_from_an_empty_account_to_a_submission(tmp_path, monkeypatch):
    assert [line.split()[1] for line in COMMANDS] == [
        "kaggle-doctor",
        *["push", "kaggle-status"] * 5,
        "submit",
    ]
    bundle = tmp_path / "bundle"
    (bundle / "code" / "src" / "cspine").mkdir(parents=True)
    (bundle / "code" / "src" / "cspine" / "__init__.py").write_text("# code\n")
    (bundle / "code" / "wheels").mkdir()
    for version in ("312", "313"):
        (bundle / "code" / "wheels" / f"x-1-cp{version}-cp{version}-linux_x86_64.whl").write_bytes(b"wheel")
    write_marker(bundle / "code" / CODE, version="0", git="a" * 40, preset="t4")
    standin = Obliging("your-name")
    standin.files["sample_submission.csv"] = (
        long(["1.2.1"], np.full((1, 8), 0.5)).to_csv(index=False).encode()
    )
    for name, value in {**standin.environment(), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    make, said = shutil.which("make"), ""
    assert make
    for line in COMMANDS:
        extra = f"--bundle {bundle} --poll-s 0.01"
        if line.split()[1] in ("kaggle-status", "submit"):
            extra += f" --fetched {tmp_path / 'fetched'}"
        done = subprocess.run(
            [make, "--no-print-directory", *line.split()[1:], f"EXTRA={extra}", f"RAW={tmp_path / 'no-data'}"],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        said += done.stdout + done.stderr
        assert done.returncode == 0, f"{line}: {said}"
    standin.close()
    assert "public 0.31, private 0.33" in said and KEY not in said
    assert len(standin.submissions) == 1 and set(standin.datasets) == {"your-name/cspine-code"}
    chained = {
        ref.rsplit("-", 1)[1]: [
            source.rsplit("-", 1)[1] for source in kernel.versions[0].get("kernelDataSources", [])
        ]
        for ref, kernel in standin.kernels.items()
    }
    assert chained == {
        "prepare": [],
        "locate": ["prepare"],
        "columns": ["locate"],
        "train": ["locate", "columns"],
        "inference": ["train"],
    }
