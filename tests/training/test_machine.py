import shutil
from collections import namedtuple
from types import SimpleNamespace

import pytest

from cspine.errors import InputError
from cspine.findings import Advice, find, report
from cspine.kaggle.doctor import examine_credentials
from cspine.settings.flags import DoctorFlags
from cspine.training import machine
from cspine.training.machine import examine

Usage = namedtuple("Usage", "total used free")
GIB = 2**30


@pytest.fixture
def flags(competition, tmp_path):
    return DoctorFlags(preset="smoke", raw=competition, cache=tmp_path / "cache", run=tmp_path / "run")


def found(flags, subject):
    (finding,) = [finding for finding in examine(flags) if finding.subject == subject]
    return finding


def test_all_is_well_for_a_replica(flags, capsys):
    findings = examine(flags)
    assert [finding.subject for finding in findings] == [
        "python", "packages", "processors", "memory", "shm", "disk", "gpu", "weights", "data"
    ]  # fmt: skip
    report(findings, "to train")
    assert capsys.readouterr().out.count("\n") == len(findings)
    assert found(flags, "data").words.startswith("2 studies, ")


def test_a_real_preset_needs_a_gpu_its_weights_and_the_data(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "device_count", lambda: 0)
    findings = examine(DoctorFlags(preset="t4", raw=tmp_path, cache=flags.cache, run=flags.run))
    wrong = {finding.subject: finding.words for finding in findings if not finding.is_right}
    assert "docs/kaggle.md" in wrong["gpu"] and "expected" in wrong["data"]
    with pytest.raises(InputError, match=r"not ready to train: .*gpu"):
        report(findings, "to train")


@pytest.mark.parametrize(
    ("gib", "preset", "right", "advice"),
    [
        (15, "t4", True, "14.6"),
        (24, "t4", True, "14.6"),
        (12, "t4", False, "PRESET=gpu-12gb"),
        (24, "gpu-80gb", False, "PRESET=gpu-24gb"),
        (6, "gpu-12gb", False, "no preset fits"),
        (80, "gpu-80gb", True, "79.1"),
    ],
)
def test_the_gpus_memory_is_held_against_the_preset(flags, monkeypatch, gib, preset, right, advice):
    cuda = machine.torch.cuda
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cuda, "get_device_name", lambda number: "a card")
    monkeypatch.setattr(cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=gib * GIB))
    finding = machine.find("gpu", lambda: machine._gpu(DoctorFlags(preset=preset)))
    assert finding.is_right == right and advice in finding.words


def test_little_memory_disk_and_shared_memory_are_told_with_a_remedy(flags, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1e6))
    real = DoctorFlags(preset="t4", raw=flags.raw, cache=flags.cache, run=flags.run)
    assert "make room" in found(real, "disk").words and not found(real, "disk").is_right
    assert "--loader-workers 0" in found(real, "shm").words and not found(real, "shm").is_right
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 3_000_000_000)
    monkeypatch.setattr(machine, "available_cpus", lambda: 8)
    assert '--workers 2"' in found(real, "memory").words and not found(real, "memory").is_right


def test_what_is_missing_in_the_data_is_advice(flags, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(flags.raw, raw)
    shutil.rmtree(raw / "segmentations")
    finding = found(DoctorFlags(preset="smoke", raw=raw, cache=flags.cache, run=flags.run), "data")
    assert finding.is_right and finding.is_advice and "segmentations is missing" in finding.words


def test_a_token_is_told_by_its_kind_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert examine_credentials().is_right and examine_credentials().is_advice
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret-value")
    assert examine_credentials().words == "environment variable KAGGLE_API_TOKEN"


def test_advice_does_not_stop_anything(capsys):
    def advise():
        raise Advice("well to know")

    report([find("a", advise), find("b", lambda: "fine")], "to go")
    assert capsys.readouterr().out == "?   a            well to know\nok  b            fine\n"
