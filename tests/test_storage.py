"""Files that are whole or absent, errors that say what to do, and a folder's lock between real processes."""

import errno
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import stages

from cspine import storage
from cspine.errors import InputError

FULL = {
    errno.ENOSPC: "No space left on device",
    errno.EDQUOT: "Disk quota exceeded",
    errno.EFBIG: "File too large",
}


def raising(error: BaseException):
    """A function that only raises."""

    def fail(*args, **options):
        raise error

    return fail


def test_what_is_written_is_read_and_nothing_lies_beside_it(tmp_path):
    folder = tmp_path / "new" / "deep"
    frame = pd.DataFrame({"row_id": ["b", "a"], "fractured": [0.1 + 0.2, 1e-300]}, index=[7, 3])
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    storage.write_bytes(folder / "bytes", b"\0\xff")
    storage.write_text(str(folder / "text"), "Wirbelsäule\n")
    storage.write_csv(folder / "table.csv", frame)
    storage.write_npy(folder / "array.npy", array)
    assert (folder / "bytes").read_bytes() == b"\0\xff"
    assert (folder / "text").read_text(encoding="utf-8") == "Wirbelsäule\n"
    assert (folder / "table.csv").read_text() == "row_id,fractured\nb,0.30000000000000004\na,1e-300\n"
    np.testing.assert_array_equal(np.load(folder / "array.npy"), array)
    assert {path.name for path in folder.iterdir()} == {"bytes", "text", "table.csv", "array.npy"}


def test_json_keeps_the_order_and_every_digit(tmp_path):
    value = {"z": 0.1 + 0.2, "a": [1e-300, None, True], "m": {"9": "ü", "1": -0.0}}
    storage.write_json(tmp_path / "a.json", value)
    found = storage.read_json(tmp_path / "a.json")
    assert found == value and list(found) == ["z", "a", "m"] and list(found["m"]) == ["9", "1"]
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_the_old_file_stays_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.txt", []
    storage.write_text(path, "old")
    sync, replace = os.fsync, os.replace

    def watched_sync(handle):
        seen.append(("sync", path.read_text()))
        sync(handle)

    def watched_replace(source, target):
        seen.append(("replace", path.read_text()))
        assert Path(source).read_text() == "new" and Path(source).parent == path.parent
        replace(source, target)

    monkeypatch.setattr(storage.os, "fsync", watched_sync)
    monkeypatch.setattr(storage.os, "replace", watched_replace)
    storage.write_text(path, "new")
    assert seen == [("sync", "old"), ("replace", "old")] and path.read_text() == "new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("there_before", [False, True])
def test_an_error_on_the_way_leaves_the_old_file_and_no_temporary_one(
    tmp_path, monkeypatch, step, error, there_before
):
    path = tmp_path / "a.npy"
    if there_before:
        path.write_text("old")
    monkeypatch.setattr(storage.os, step, raising(error))
    with pytest.raises(type(error)) as caught:
        storage.write_npy(path, np.zeros(3))
    assert caught.value is error, "what is no full disk keeps its name"
    assert [one.read_text() for one in tmp_path.iterdir()] == ["old"] * there_before


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", FULL, ids=errno.errorcode.get)
def test_a_full_disk_says_so_and_what_to_do(tmp_path, monkeypatch, number, step):
    path = tmp_path / "table.csv"
    storage.write_text(path, "old")
    monkeypatch.setattr(storage.os, step, raising(OSError(number, FULL[number])))
    with pytest.raises(storage.DiskFull) as caught:
        storage.write_text(path, "new")
    words = str(caught.value)
    assert words.startswith(f"{tmp_path}: can't be written ({FULL[number]}; ")
    assert "MB free there); make room or name another folder, then run again: what is finished stays" in words
    assert caught.value.__cause__.errno == number
    assert issubclass(storage.DiskFull, InputError)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_grow_is_a_full_disk_too(tmp_path):
    """A limit of the system for this process, as it meets a disk quota."""
    code = (
        "import sys; from cspine import storage; import numpy as np\n"
        "try: storage.write_npy(sys.argv[1], np.zeros(10_000))\n"
        "except storage.DiskFull as error: print(error)"
    )
    limit = (4_000, resource.RLIM_INFINITY)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npy")],
        env=stages.environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{tmp_path}: can't be written (File too large; ")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_names_a_folder_that_is_there(tmp_path):
    """Not the one that could not be made, nor the temporary one that is removed next."""
    temporary = tmp_path / ".study.123.tmp"
    temporary.mkdir()
    for folder in (tmp_path / "cache" / "volumes", temporary, temporary / "deep"):
        with pytest.raises(storage.DiskFull, match=f"^{tmp_path}: "), storage.full_disk_reported(folder):
            raise OSError(errno.ENOSPC, FULL[errno.ENOSPC])


def test_temporary_names_are_hidden_and_never_the_same(tmp_path):
    names = {storage.temporary_beside(tmp_path / "a.npy") for _ in range(1000)}
    assert len(names) == 1000 and {path.parent for path in names} == {tmp_path}
    assert all(path.name.startswith(".a.npy.") and path.name.endswith(".tmp") for path in names)


def test_objects_are_refused_and_nothing_is_written(tmp_path):
    storage.write_npy(tmp_path / "a.npy", np.ones(3))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(ValueError, match="allow_pickle"):
            storage.write_npy(tmp_path / name, np.array([{}, "text"], dtype=object))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), np.ones(3))


@pytest.mark.parametrize("kind", ["nothing", "a folder", "a dangling link"])
def test_a_missing_document_names_its_file_and_the_target_that_makes_it(tmp_path, kind):
    path = tmp_path / "calibration.json"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a dangling link":
        path.symlink_to("gone.json")
    with pytest.raises(InputError) as caught:
        storage.read_json(path, made_by="make cv")
    assert str(caught.value) == f"{path}: no such file; `make cv` makes it"
    with pytest.raises(InputError) as caught:
        storage.read_json(str(path))
    assert str(caught.value) == f"{path}: no such file"


BROKEN = {
    "empty": b"",
    "cut short": json.dumps({"scores": [1, 2, 3]}).encode()[:-3],
    "a page of HTML": b"<html>not found</html>",
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "zeros": bytes(64),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_document_names_its_file_and_the_target_that_makes_it(tmp_path, kind):
    path = tmp_path / "settings.json"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(InputError) as caught:
        storage.read_json(path, made_by="make prepare")
    words = str(caught.value)
    assert words.startswith(f"{path}: expected a JSON document, found ") and "\n" not in words
    assert words.endswith("; `make prepare` makes it")


HOLD = """
import subprocess, sys, time
from cspine import storage
with storage.locked(sys.argv[1], "first"):
    child = subprocess.Popen(["sleep", "600"])
    print(child.pid, flush=True)
    time.sleep(600)
"""
TAKE = """
import sys
from cspine import storage
with storage.locked(sys.argv[1], "second"):
    print("got it", flush=True)
"""


def start(stack: ExitStack, code: str, folder: Path) -> subprocess.Popen:
    """Start a process that takes the folder; it is ended with the stack."""
    command = [sys.executable, "-c", code, str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = stack.enter_context(subprocess.Popen(command, env=stages.environment(), **pipes))
    stack.callback(process.kill)
    return process


def line_of(stream, seconds: float = 30.0) -> str:
    """The next line that a process prints; it has to come in time."""
    ready, _, _ = select.select([stream], [], [], seconds)
    assert ready, "nothing was printed"
    return stream.readline()


def test_a_second_process_waits_and_the_lock_dies_with_its_holder(tmp_path):
    """Also while a child of the holder, started within the lock, lives on."""
    folder = tmp_path / "cache"
    with ExitStack() as stack:
        holder = start(stack, HOLD, folder)
        child = int(line_of(holder.stdout))
        stack.callback(os.kill, child, signal.SIGKILL)
        second = start(stack, TAKE, folder)
        told = line_of(second.stderr)
        assert told == f"second: another process is at work in {folder}; waiting for it\n"
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.5)
        holder.kill()
        out, err = second.communicate(timeout=30)
        assert (out, err, second.returncode) == ("got it\n", "", 0)
        assert stages.alive(child)


def test_a_free_folder_is_taken_without_a_word(tmp_path):
    """New, left in order, or left by an error."""
    folder = tmp_path / "deep" / "cache"
    for error in (None, ZeroDivisionError):
        with ExitStack() as stack:
            second = start(stack, TAKE, folder)
            assert second.communicate(timeout=30) == ("got it\n", "")
        with suppress(ZeroDivisionError), storage.locked(folder, "first"):
            if error:
                raise error
    with ExitStack() as stack:
        second = start(stack, TAKE, folder)
        assert second.communicate(timeout=30) == ("got it\n", "")


def test_companions_of_the_holder_neither_wait_nor_write(tmp_path):
    with storage.locked(tmp_path / "nothing", "companion", take=False):
        assert not (tmp_path / "nothing").exists()
    with ExitStack() as stack:
        holder = start(stack, HOLD, tmp_path)
        stack.callback(os.kill, int(line_of(holder.stdout)), signal.SIGKILL)
        started = time.monotonic()
        with storage.locked(tmp_path, "companion", take=False):
            assert time.monotonic() - started < 5
        second = start(stack, TAKE, tmp_path)
        assert "waiting" in line_of(second.stderr), "a companion that leaves takes no lock with it"


def test_a_lock_on_a_full_disk_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", raising(OSError(errno.ENOSPC, FULL[errno.ENOSPC])))
    with (
        pytest.raises(storage.DiskFull, match="make room"),
        storage.locked(tmp_path / "cache", "prepare"),
    ):
        raise AssertionError("the folder was never held")
