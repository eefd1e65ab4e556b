"""Every script's command line: quick help, exit code 2 without a traceback, and the Makefile's defaults."""

import importlib.util
import json
import os
import pty
import re
import resource
import select
import shlex
import signal
import subprocess
import sys
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
from helpers import stages
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from cspine import cli
from cspine.errors import InputError
from cspine.kaggle.answers import ANSWERS

SRC = Path(__file__).resolve().parents[1] / "src"
SCRIPTS = sorted(path.stem for path in SRC.glob("*.py"))
LIMIT_S = 2.0
HEAVY = {"torch", "pandas", "pydicom", "numpy", "scipy", "cv2", "matplotlib", "distributed", "dicomsdl"}
"""What takes longer to import than a mistyped flag may take to be told."""


@dataclass(frozen=True)
class Ended:
    """How a script ended: its exit code, what it printed, its time, and what it imported."""

    code: int
    out: str
    err: str
    seconds: float
    """Of a processor: what else the machine does at that moment does not count."""
    imported: frozenset[str]


@cache
def ended(script: str, *flags: str) -> Ended:
    """Run a script; up to three times if it takes longer than it may, and the best of these counts."""
    command = [sys.executable, "-X", "importtime", str(SRC / f"{script}.py"), *flags]
    environment = {**os.environ, "COLUMNS": "200"}
    seconds: list[float] = []
    while len(seconds) < 3 and min(seconds, default=LIMIT_S) >= LIMIT_S:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    told = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("import time:")]
    names = re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE)
    return Ended(done.returncode, done.stdout, "".join(told), min(seconds), frozenset(names))


def flags_type(script: str) -> type:
    """The dataclass whose fields are a script's flags."""
    spec = importlib.util.spec_from_file_location(f"script_{script}", SRC / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations' names
    spec.loader.exec_module(module)
    (kind,) = (hint for name, hint in get_type_hints(module.main).items() if name != "return")
    return kind


def defaults(script: str) -> dict[str, Any]:
    """Field -> default of a script's flags; MISSING for those that have to be given."""
    found = {field.name: field.default for field in fields(flags_type(script))}
    return {name: getattr(value, "default", value) for name, value in found.items()}


def test_every_script_is_there():
    assert len(SCRIPTS) >= 14 and {"prepare", "train", "replicate", "wheels"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_quick_and_lists_every_flag(script):
    done = ended(script, "--help")
    assert done.code == 0 and done.err == ""
    assert done.seconds < LIMIT_S
    names = [f"--{name.replace('_', '-')}" for name in defaults(script)]
    listed = set(re.findall(r"--[a-z][a-z-]*", done.out))
    assert names and listed == {"--help", *names} | {
        f"--no-{name[2:]}" for name in names if f"--no-{name[2:]}" in listed
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_heavy_is_imported_before_the_flags_are_parsed(script):
    imported = ended(script, "--help").imported
    assert {"tyro", "pydantic", "cspine.cli"} <= imported, "the list of imports was read"
    assert not imported & HEAVY


WRONG = {
    "bundle": {"--code-only perhaps": "perhaps", "--wheels": "--wheels", "--owner me": "--owner"},
    "blend": {"--nonsense": "--nonsense", "--out": "--out"},
    "columns": {"--workers 0": "workers", "--preset t5": "--preset"},
    "cv": {"--cache": "--cache", "--nonsense 3": "--nonsense"},
    "describe": {"--raw": "--raw"},
    "doctor": {"--preset t5": "--preset", "--folds 2": "--folds"},
    "kaggle_doctor": {"--owner": "--owner", "--poll-s 0": "poll_s", "--kernel train": "--kernel"},
    "kaggle_status": {"--kernel all": "--kernel", "--once maybe": "maybe"},
    "locate": {"--preset T4": "--preset", "--raw a": "--raw"},
    "locate_scan": {"": "--input", "-i": "--input", "--run a": "--input"},
    "plan": {"--preset t5": "--preset", "--gpu a": "--gpu"},
    "predict": {"": "--input", "--run a": "--input", "-i": "--input"},
    "prepare": {"--workers many": "--workers", "--preset none": "--preset", "--retry-failed yes": "yes"},
    "pretrain_locator": {"--preset t4": "--preset", "--seed": "--seed"},
    "push": {"--owner": "--owner", "--kernel score": "--kernel", "--poll-s 0": "poll_s"},
    "replicate": {
        "--out a --coverage all": "--coverage",
        "": "--out",
        "--seed 1": "--out",
        "--out a --size 2": "size",
        "--out a --severity 1 0": "severity",
        "--out a --split odd": "--split",
        "--out a --train 0 --public 0 --private 0": "at least one study",
    },
    "report": {"--studies 0": "studies", "--studies 51": "studies"},
    "score": {
        "--require-lower-bound-percent much": "--require-lower-bound-percent",
        "--run a": "--run",
        "--json": "--json",
    },
    "split": {"--folds 1": "folds", "--folds 2.5": "--folds", "--seed -1": "seed"},
    "submission": {"--out": "--out"},
    "submit": {"--kernel train": "--kernel", "--message": "--message"},
    "train": {"--preset demo2": "--preset", "--pretrained maybe": "maybe"},
    "wheels": {"--requirements": "--requirements", "a b": "a"},
}
"""Script -> flags that are missing, lack their value or have a wrong one, and what the message has to name."""
CASES = [(script, flags, word) for script, cases in WRONG.items() for flags, word in cases.items()]


@pytest.mark.parametrize(("script", "flags", "word"), CASES, ids=lambda part: part.replace(" ", "_"))
def test_wrong_flags_are_told_at_once_and_without_a_traceback(script, flags, word):
    done = ended(script, *flags.split())
    assert done.code == 2 and done.out == ""
    assert word in done.err and "Traceback" not in done.err
    assert done.seconds < LIMIT_S
    assert not done.imported & HEAVY


def stopped_when(there: Path, command: list[str]) -> str:
    """Press Ctrl-C as soon as a file is there: what the script says."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=stages.environment(),
        start_new_session=True,
    )  # fmt: skip
    stages.wait_for(there.exists)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of its processes
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    return err


def test_ctrl_c_is_one_sentence(competition, tmp_path):
    command = stages.prepare_command(competition, tmp_path, "--workers", 1)
    err = stopped_when(tmp_path / "volumes", command)
    assert "stopped; run again to go on" in err and "Traceback" not in err


@pytest.mark.slow
def test_a_submission_that_is_stopped_keeps_its_finished_studies(competition, run, tmp_path):
    command = [sys.executable, str(SRC / "submission.py"), "--raw", str(competition)]
    command += ["--run", str(run), "--out", str(tmp_path)]
    known = tmp_path / "kaggle" / "working" / ANSWERS
    err = stopped_when(known, command)
    assert "Traceback" not in err and "resource_tracker" not in err, err[-1500:]
    assert "stopped; run again to go on" in err.splitlines()
    assert not (tmp_path / "submission.csv").exists()
    first = known.read_text().splitlines()[0]
    study = json.loads(first)["study"]
    changed = json.loads(first) | {"notes": ["said before it was stopped"]}
    known.write_text(json.dumps(changed) + "\n")
    done = subprocess.run(command, capture_output=True, text=True, env=stages.environment())
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "inference.json").read_text())
    assert report["notes"][study] == ["said before it was stopped"] and report["predicted"] == 2


def test_every_script_is_given_wrong_flags():
    assert sorted(WRONG) == SCRIPTS


WITH_TORCH = {
    "bundle",
    "locate",
    "locate_scan",
    "predict",
    "pretrain_locator",
    "report",
    "submission",
    "train",
}
NEED_FILES = [
    pytest.param(script, marks=pytest.mark.slow if script in WITH_TORCH else [])
    for script in SCRIPTS
    if script not in ("doctor", "plan", "push", "replicate", "submit", "wheels")
    and not script.startswith("kaggle")
]


@pytest.mark.parametrize("script", NEED_FILES)
def test_a_missing_folder_is_told_in_one_line(script, tmp_path):
    """The competition, the cache or the run is not there: the person's to mend, so no traceback."""
    given = {"raw", "cache", "run", "input", "replica", "submission", "solution"} & set(defaults(script))
    flags = [part for name in sorted(given) for part in (f"--{name}", str(tmp_path / f"no-{name}"))]
    command = [sys.executable, str(SRC / f"{script}.py"), *flags]
    done = subprocess.run(command, cwd=tmp_path, env=stages.environment(), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert f"{tmp_path}/no-" in done.stderr


@checked_dataclass(frozen=True)
class Flags:
    """Flags of a script made for a test."""

    how: str = "fine"
    share_kept: Annotated[float, Field(le=1)] = 0.5


def refuse(flags: Flags) -> None:
    """End as asked."""
    if flags.how == "input":
        raise InputError("scan.dcm: found 3; expected 4; cut it again")
    if flags.how == "settings":
        Flags(share_kept=7)
    if flags.how == "bug":
        raise ValueError("ours")
    print(f"share {flags.share_kept}")


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["made.py", *arguments])
    cli.run(refuse, Flags)


def test_an_input_error_is_one_line_and_exit_code_2(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--how", "input")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: scan.dcm: found 3; expected 4; cut it again\n")


def test_a_setting_out_of_its_bounds_is_named_as_a_flag(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--how", "settings")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: --share-kept: Input should be less than or equal to 1, got 7\n"


def test_our_own_faults_keep_their_traceback_and_success_returns(monkeypatch, capsys):
    with pytest.raises(ValueError, match="ours"):
        run(monkeypatch, "--how", "bug")
    run(monkeypatch, "--share-kept", "0.25")
    assert capsys.readouterr().out == "share 0.25\n"


def test_a_stage_tells_what_it_read_and_wrote_in_one_line(capsys):
    cli.log_stage("prepare", read=Path("data/raw"), wrote=Path("data/cache"), done="3 (failed 1)", per_h=12)
    cli.log_stage("cv", read="2 folds", wrote="oof.csv")
    assert capsys.readouterr().out == (
        "prepare     read data/raw -> wrote data/cache, done 3 (failed 1), per h 12\n"
        "cv          read 2 folds -> wrote oof.csv\n"
    )


def test_a_stages_line_is_out_even_if_its_process_dies_next():
    code = "import os; from cspine import cli; cli.log_stage('cv', read=1, wrote=2); os._exit(9)"
    environment = stages.environment(PYTHONUNBUFFERED="")  # this process may have been told not to buffer
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (9, "cv          read 1 -> wrote 2\n")


PROGRESS = (
    "from cspine import cli\n"
    "print(sum(cli.progress(range(50), unit='study', total=50, what='prepare')))\n"
    "with cli.progress(unit='step', total=2) as bar: bar.update(2)"
)


def test_progress_says_a_line_a_minute_in_a_log():
    """A minute of a fifth of a second here."""
    slow = (
        "import time; from cspine import cli; cli.LOG_EVERY_S = 0.2\n"
        "for _ in cli.progress(range(8), unit='study', what='prepare'): time.sleep(0.1)"
    )
    command = [sys.executable, "-c", slow]
    done = subprocess.run(command, env=stages.environment(), capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert 2 <= len(lines) <= 4, lines
    assert all(
        re.match(r"prepare: \d of 8 study after 00:0\d, .*study/s, .* left$", line) for line in lines
    ), lines


def test_progress_is_silent_about_short_work_in_a_log():
    command = [sys.executable, "-c", PROGRESS]
    done = subprocess.run(command, env=stages.environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1225\n", "")


def test_progress_shows_its_rate_on_a_terminal():
    master, terminal = pty.openpty()
    try:
        command = [sys.executable, "-c", PROGRESS]
        environment = stages.environment(TERM="xterm", COLUMNS="100")
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True)
        assert select.select([master], [], [], 5)[0], "nothing was shown"
        shown = os.read(master, 100_000).decode()
    finally:
        os.close(master)
        os.close(terminal)
    assert done.stdout == "1225\n"
    assert "prepare: 100%" in shown and "50/50" in shown and "study/s" in shown


MAKEFILE = (SRC.parent / "Makefile").read_text()
VARIABLES = dict(re.findall(r"^(\w+) *\?= *(.*?) *$", MAKEFILE, re.MULTILINE))


def expanded(variable: str) -> str:
    """A variable's default with the two forms that the Makefile's defaults use."""
    text = VARIABLES[variable].replace("$(PRESET)", VARIABLES["PRESET"])
    if "$(notdir $(RUN:/=))" in text:
        text = text.replace("$(notdir $(RUN:/=))", Path(expanded("RUN")).name)
    assert "$" not in text, f"{variable}: {text}"
    return text


def without_conditions(recipe: str) -> str:
    """A recipe without its $(if ...), whose flags are only given sometimes."""
    while (start := recipe.find("$(if ")) >= 0:
        depth, end = 0, start
        while depth or end == start:
            depth += {"(": 1, ")": -1}.get(recipe[end + 1], 0)
            end += 1
        recipe = recipe[:start] + recipe[end + 1 :]
    return recipe


def given_flags() -> dict[tuple[str, str], str]:
    """(Script, field) -> variable, for every flag that the Makefile gives with a variable's value alone."""
    lines = MAKEFILE.replace("\\\n", " ").splitlines()
    recipes = [without_conditions(line) for line in lines if line.startswith("\t")]
    found = {}
    for recipe in recipes:
        for script, flags in re.findall(r"\bsrc/(\w+)\.py(.*)", recipe):
            for flag, variable in re.findall(r'--([a-z-]+) "?\$\((\w+)\)', flags):
                found[script, flag.replace("-", "_")] = variable
    return found


def test_the_makefile_gives_only_flags_that_there_are():
    given = given_flags()
    assert {script for script, _ in given} >= {"prepare", "train", "cv", "submission", "replicate", "push"}
    for script, field in given:
        assert field in defaults(script), f"{script}.py has no --{field}"


def test_defaults_of_flags_are_those_of_the_makefile():
    compared = set()
    for (script, field), variable in given_flags().items():
        default = defaults(script)[field]
        if variable == field.upper() and default is not MISSING:
            assert ("" if default == () else str(default)) == expanded(variable), (
                f"{script}.py --{field}: {default}"
            )
            compared.add(variable)
    assert compared >= {"RAW", "CACHE", "RUN", "OUT", "PRESET", "FOLDS", "FOLD"}


def test_a_flag_of_one_name_has_one_default():
    """Also where the Makefile does not give it."""
    for script in SCRIPTS:
        for field, default in defaults(script).items():
            if field in ("raw", "cache", "run", "preset", "folds") and default not in (None, MISSING):
                assert str(default) == expanded(field.upper()), f"{script}.py --{field}: {default}"


@pytest.mark.parametrize("given", ["PRESETS=t4", "WORKERS=4", "Run=x", "STUDY=a"])
def test_a_variable_that_make_does_not_know_is_refused(given):
    done = subprocess.run(["make", "-n", "plan", given], cwd=SRC.parent, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"no variable {given.split('=')[0]}; expected one of PRESET RAW" in done.stderr


@pytest.mark.parametrize("target", ["demo", "help", "setup", "lint", "smoke", ""])
def test_further_flags_are_refused_where_they_would_be_ignored(target):
    command = ["make", "-n", *([target] if target else []), "EXTRA=--workers 1"]
    done = subprocess.run(command, cwd=SRC.parent, capture_output=True, text=True)
    assert done.returncode == 2 and "EXTRA= is for targets that run one script" in done.stderr


def test_every_target_takes_further_flags_or_refuses_them():
    (refusing,) = re.findall(r"^NO_EXTRA := (.*)$", MAKEFILE, re.MULTILINE)
    for target in sorted(set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)) - set(refusing.split())):
        command = ["make", "-n", target, "EXTRA=--a-flag-of-mine"]
        done = subprocess.run(command, cwd=SRC.parent, capture_output=True, text=True)
        assert "--a-flag-of-mine" in done.stdout, target


def test_every_variable_that_make_reads_is_known():
    (known,) = re.findall(r"^KNOWN := (.*?)\n[A-Z]", MAKEFILE, re.MULTILINE | re.DOTALL)
    assert set(VARIABLES) <= set(known.replace("\\", " ").split())


def test_no_target_is_taken_for_a_file_of_its_name():
    targets = re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony.split() == targets


@pytest.mark.parametrize("name", ["a b", "(a) & b", "a;b", "it's"])
def test_a_folder_of_any_name_is_one_word_to_every_stage(name, tmp_path):
    (tmp_path / name).mkdir()
    for file in ("oof.csv", "inference.json"):
        (tmp_path / name / file).touch()
    folder = f"{tmp_path}/{name}/"
    stages = "describe prepare split locate columns train cv submission score report predict locate-scan tensorboard"
    for target in [*stages.split(), "bundle", "kaggle-status", "submit"]:
        given = [f"{variable}={folder}" for variable in ("RAW", "CACHE", "RUN", "IN", "OUT")]
        command = ["make", "-n", target, "OWNER=me", *given]
        done = subprocess.run(command, cwd=SRC.parent, capture_output=True, text=True, check=True)
        line = done.stdout.replace("\\\n", " ").splitlines()[-1]
        words = shlex.split(line)
        assert folder in words, line
        assert not {"a", "b", "(a)", "&"} & set(words) and not [
            word for word in words if word.endswith(";")
        ], line
        if target in ("score", "report"):
            assert words[words.index("--runs" if target == "score" else "--inference") + 1].startswith(
                folder
            ), line


def test_a_slash_at_the_end_of_a_run_names_the_same_submission():
    command = ["make", "-n", "submission", "RUN=data/runs/mine/"]
    done = subprocess.run(command, cwd=SRC.parent, capture_output=True, text=True, check=True)
    assert '--out "data/submissions/mine"' in done.stdout
