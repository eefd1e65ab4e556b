"""Kaggle inference kernel: the competition's data, the code and the models -> submission.csv, without a network.

Inputs are recognised by a marker file, wherever Kaggle mounts them. To try it elsewhere, name the folder that
stands for /kaggle/input: `python inference.py FOLDER` (submission.csv appears in the current folder).

This process needs nothing but Python. Its first act is a submission of the training constants; everything that can
fail runs in a process of its own and is watched from here. In the scoring run it ends with 0 whatever happens;
elsewhere with 1 when something is wrong.
"""

import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMED = [Path(word) for word in sys.argv[1:] if Path(word).is_dir()]
INPUTS = NAMED[0] if NAMED else Path("/kaggle/input")
SUBMISSION = Path.cwd() / "submission.csv"
STARTED = time.monotonic()
"""From here on Kaggle's hours count, whatever is started again."""
CONSTANTS = {
    "C1": 0.1349,
    "C2": 0.2474,
    "C3": 0.0698,
    "C4": 0.1016,
    "C5": 0.1486,
    "C6": 0.2413,
    "C7": 0.3259,
    "patient_overall": 0.6450,
}
"""What scores best where nothing is known of a study, 2p / (1 + p) of the training set's rates p."""
STARTS = 3
"""How often the process that predicts is started before it is given up."""


def say(*words: object) -> None:
    """Print, where there is anybody to print to."""
    try:
        print(*words, flush=True)
    except (OSError, ValueError):  # a closed pipe must not cost the submission
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def folder_with(marker: str, depth: int = 7) -> Path | None:
    """The first input folder that holds the file `marker`; image folders are not searched."""
    level = [INPUTS] if INPUTS.is_dir() else []
    for _ in range(depth + 1):
        for folder in level:
            if (folder / marker).is_file():
                return folder
        inner = []
        for folder in level:
            try:
                inner += [child for child in sorted(folder.iterdir()) if child.is_dir()]
            except OSError as error:
                say(f"PROBLEM: {folder}: {error.strerror}")
        level = [folder for folder in inner if not folder.name.endswith("_images")]
    return None


def sample_rows(sample: Path) -> list[str]:
    """The row ids of a sample, as they stand there."""
    with sample.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [row["row_id"] for row in csv.DictReader(file) if row.get("row_id")]


def write_constants(rows: list[str]) -> None:
    """Answer every row with the constant of its kind, whatever its study is called."""
    unknown = sum(CONSTANTS.values()) / len(CONSTANTS)
    temporary = SUBMISSION.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row_id", "fractured"])
        for row in rows:
            writer.writerow([row, CONSTANTS.get(row.partition("_")[2], unknown)])
    os.replace(temporary, SUBMISSION)


def is_valid(rows: list[str]) -> bool:
    """Whether submission.csv answers just these rows with probabilities."""
    try:
        with SUBMISSION.open(encoding="utf-8", newline="") as file:
            found = [(row["row_id"], float(row["fractured"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return [row for row, _ in found] == rows and all(0 <= value <= 1 for _, value in found)


def predict(data: Path, code: Path, models: Path, packages: Path) -> int:
    """Run the bundle's code in a process of its own until it ends by itself; its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    paths = [str(code / "src"), str(packages), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "cspine.kaggle.kernel"]
    command += [str(data), str(models / "models"), str(Path.cwd()), str(STARTED)]
    ended = 1
    for start in range(STARTS):
        with subprocess.Popen(command, env=environment) as process:
            try:
                ended = process.wait()
            except BaseException:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise
        if ended >= 0:
            break
        say(f"PROBLEM: the predicting process was killed by signal {-ended}, start {start + 1} of {STARTS}")
    return ended


def main() -> int:
    """Constants, then better; 0 if all is well."""
    data = folder_with("sample_submission.csv")
    if data is None:
        say(f"PROBLEM: no input under {INPUTS} holds sample_submission.csv: attach the competition's data")
        return 1
    rows = sample_rows(data / "sample_submission.csv")
    write_constants(rows)
    ended = 1
    try:
        code, models = folder_with("cspine-code.json"), folder_with("cspine-models.json")
        if code is None:
            say(f"PROBLEM: no input under {INPUTS} holds cspine-code.json: attach the dataset with the code")
        if models is None:
            say(
                f"PROBLEM: no input under {INPUTS} holds cspine-models.json: attach the dataset with the models,"
            )
            say("or the output of the kernel that trained them")
        if code and models:
            sys.path.insert(0, str(code / "src"))
            from cspine.kaggle.packages import install

            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as packages:
                problems = install(code / "wheels", Path(packages))
                for problem in problems:
                    say(f"PROBLEM: {problem}")
                ended = predict(data, code, models, Path(packages)) or int(bool(problems))
    except BaseException as error:  # noqa: BLE001 (whatever it is, the submission stays)
        say(f"PROBLEM: {error.__class__.__name__}: {error}")
        ended = 1
    if not is_valid(rows):
        say("PROBLEM: submission.csv was not valid; it holds constants now")
        write_constants(rows)
        ended = 1
    return ended


def stop(number: int, _: object) -> None:
    """End by the way of all problems."""
    raise SystemExit(f"stopped by signal {number}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    ended = main()
    say(f"ended with {ended}; submission.csv is there: {SUBMISSION.is_file()}")
    sys.exit(0 if os.environ.get("KAGGLE_IS_COMPETITION_RERUN") else ended)
