"""Sending, following and submitting with the genuine client, against a stand-in for Kaggle's server."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.kaggle_server import KEY, Dataset, Kernel, Standin

from cspine.competition.labels import SLUG
from cspine.competition.rows import long
from cspine.errors import InputError
from cspine.findings import report
from cspine.kaggle import client as client_module
from cspine.kaggle.account import Account, Sent
from cspine.kaggle.client import KaggleClient, Refused, installed
from cspine.kaggle.doctor import examine
from cspine.kaggle.follow import Following, follow, last_lines, submit
from cspine.kaggle.marker import CODE, MODELS, write_marker
from cspine.kaggle.push import SENT, Polling, kernel_metadata, push

ROOT = Path(__file__).resolve().parents[2]
ME = Account("me", "cspine")
QUICK = Polling(every_s=0.01, patience_s=30)


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    standin = Standin()
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**standin.environment(), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    yield standin
    standin.close()


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bundle as `make bundle` writes it, with little in it."""
    folder = tmp_path / "bundle"
    for name in (
        "code/src/cspine/__init__.py",
        "code/src/cspine/kaggle/kernel.py",
        "models/models/calibration.json",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (folder / "models/models/model.safetensors").write_bytes(np.random.default_rng(0).bytes(300_000))
    for version in ("312", "313"):
        wheel = folder / f"code/wheels/pebble-5-cp{version}-cp{version}-linux_x86_64.whl"
        wheel.parent.mkdir(exist_ok=True)
        wheel.write_bytes(b"wheel")
    write_marker(folder / "code" / CODE, version="0", git="a" * 40)
    write_marker(folder / "models" / MODELS, version="0")
    return folder


def content_of(half: Path) -> str:
    """What is noted of a half that was sent."""
    return hashlib.sha256((half / ("cspine-" + half.name + ".json")).read_bytes()).hexdigest()


def on_kaggle(half: Path) -> dict[str, bytes]:
    """What a half of the bundle should be there."""
    names = (path for path in half.rglob("*") if path.is_file() and path.name != "dataset-metadata.json")
    return {path.relative_to(half).as_posix(): path.read_bytes() for path in names}


def test_what_arrives_is_what_the_bundle_holds(kaggle, bundle, capsys):
    assert push(ME, "inference", bundle, QUICK) == 1
    for half in ("code", "models"):
        assert kaggle.datasets[f"me/cspine-{half}"].versions == [on_kaggle(bundle / half)]
    saved = kaggle.kernels["me/cspine-inference"].versions[0]
    assert saved["text"] == (ROOT / "kernels" / "inference" / "inference.py").read_text()
    assert saved["enableInternet"] is False and saved["isPrivate"] is True
    assert saved["datasetDataSources"] == ["me/cspine-code", "me/cspine-models"]
    assert saved["competitionDataSources"] == [SLUG]
    assert saved["machineShape"] == "NvidiaTeslaT4"
    sent = Sent(bundle / SENT)
    assert sent.of("me/cspine-inference")["version"] == 1
    assert sent.of("me/cspine-inference")["git"] == "a" * 40
    assert "make kaggle-status OWNER=me KERNEL=inference" in capsys.readouterr().out
    assert KEY not in (bundle / SENT).read_text()


def test_what_is_there_is_not_sent_again_and_a_change_becomes_a_version(kaggle, bundle):
    push(ME, "inference", bundle, QUICK)
    blobs = len(kaggle.blobs)
    assert push(ME, "inference", bundle, QUICK) == 2
    assert len(kaggle.blobs) == blobs
    (bundle / "models/models/calibration.json").write_text("{}")
    write_marker(bundle / "models" / MODELS, version="0")
    assert push(ME, "inference", bundle, QUICK) == 3
    assert len(kaggle.datasets["me/cspine-code"].versions) == 1
    assert kaggle.datasets["me/cspine-models"].versions[1] == on_kaggle(bundle / "models")


def test_a_version_waits_for_the_one_that_is_still_in_the_making(kaggle, bundle):
    """Kaggle would answer 403."""
    kaggle.datasets["me/cspine-code"] = Dataset([{"old": b"x"}], making=3)
    push(ME, "inference", bundle, QUICK)
    assert kaggle.datasets["me/cspine-code"].versions[1] == on_kaggle(bundle / "code")


def test_faults_that_pass_cost_nothing(kaggle, bundle):
    for method, fault, times in [
        ("Put", 503, 1),
        ("Put", "drop", 1),
        ("StartBlobUpload", "drop", 1),
        ("StartBlobUpload", 429, 1),
        ("CreateDataset", "drop", 1),
    ]:
        kaggle.faults[method, fault] = times
    push(ME, "inference", bundle, QUICK)
    assert set(kaggle.faults.values()) == {0}
    assert kaggle.datasets["me/cspine-code"].versions[0] == on_kaggle(bundle / "code")
    assert kaggle.datasets["me/cspine-models"].versions[0] == on_kaggle(bundle / "models")


@pytest.mark.parametrize(
    ("method", "fault", "words"),
    [
        ("Put", 403, "Upload unsuccessful"),
        ("Put", 503, "Upload unsuccessful"),
        ("Put", "lose", "src/cspine/__init__.py is missing"),
        ("Put", "cut", "is missing"),
        ("GetDatasetStatus", 401, "doesn't know these credentials; `make kaggle-doctor`"),
        ("CreateDataset", 403, "may be another user's"),
        ("CreateDataset", 400, "fault on demand"),
        ("CreateDataset", 503, "try again later"),
        ("ListDatasetFiles", 500, "give another with NAME="),
    ],
)
def test_a_fault_that_stays_is_an_error_and_no_kernel_is_started_on_half_a_dataset(
    kaggle, bundle, method, fault, words
):
    kaggle.faults[method, fault] = 1000
    with pytest.raises(InputError, match=words):
        push(ME, "inference", bundle, QUICK)
    assert "me/cspine-inference" not in kaggle.kernels
    assert not Sent(bundle / SENT).of("me/cspine-inference")


def test_a_kernel_that_is_not_accepted_is_an_error(kaggle, bundle):
    for fault, words in [
        (403, "Kaggle forbids it"),
        (404, "Kaggle finds nothing of that name"),
        (429, "wait a few minutes"),
        ("drop", "can't be reached"),
    ]:
        kaggle.faults["SaveKernel", fault] = 1000
        with pytest.raises(InputError, match=words):
            push(ME, "inference", bundle, QUICK)
        del kaggle.faults["SaveKernel", fault]
    assert not Sent(bundle / SENT).of("me/cspine-inference")


def test_a_file_that_kaggle_loses_or_cuts_is_named(kaggle, bundle, monkeypatch):
    listed = Standin.ListDatasetFiles

    def lossy(self, asked):
        answer = listed(self, asked)
        files = [entry for entry in answer["datasetFiles"] if not entry["name"].endswith("calibration.json")]
        for entry in files:
            entry["totalBytes"] -= entry["name"].endswith("model.safetensors")
        return {**answer, "datasetFiles": files}

    monkeypatch.setattr(Standin, "ListDatasetFiles", lossy)
    with pytest.raises(InputError) as caught:
        push(ME, "inference", bundle, QUICK)
    assert "models/calibration.json is missing" in str(caught.value)
    assert "models/model.safetensors has 299999 bytes instead of 300000" in str(caught.value)
    monkeypatch.setattr(Standin, "ListDatasetFiles", listed)
    push(ME, "inference", bundle, QUICK)
    assert kaggle.datasets["me/cspine-models"].versions[-1] == on_kaggle(bundle / "models")


def test_a_dataset_that_kaggle_can_not_make_is_told_and_made_anew(kaggle, bundle, monkeypatch):
    created = Standin.CreateDataset

    def broken(self, asked):
        answer = created(self, asked)
        self.datasets[f"me/{asked['slug']}"].failed = True
        return answer

    monkeypatch.setattr(Standin, "CreateDataset", broken)
    with pytest.raises(InputError, match=r"could not make the dataset \(failed\)"):
        push(ME, "inference", bundle, QUICK)
    monkeypatch.setattr(Standin, "CreateDataset", created)
    assert push(ME, "inference", bundle, QUICK) == 1
    assert kaggle.datasets["me/cspine-code"].versions[-1] == on_kaggle(bundle / "code")


def test_a_dataset_that_never_gets_ready_ends_the_patience(kaggle, bundle):
    kaggle.slow = 10**9
    with pytest.raises(InputError, match=r"not ready after 1 s \(Kaggle says blobs_received\)"):
        push(ME, "inference", bundle, Polling(0.01, 1))


def test_a_name_that_was_deleted_before_needs_another(kaggle, bundle):
    kaggle.deleted.add("me/cspine-code")
    with pytest.raises(InputError, match="give another with NAME="):
        push(ME, "inference", bundle, QUICK)
    assert push(Account("me", "cspine2"), "inference", bundle, QUICK) == 1
    saved = kaggle.kernels["me/cspine2-inference"].versions[0]
    assert saved["datasetDataSources"] == ["me/cspine2-code", "me/cspine2-models"]


def test_a_kernel_that_kaggle_starts_without_its_dataset_is_an_error(kaggle, bundle, monkeypatch):
    save = Standin.SaveKernel
    monkeypatch.setattr(
        Standin,
        "SaveKernel",
        lambda self, asked: {**save(self, asked), "invalidDatasetSources": ["me/cspine-models"]},
    )
    with pytest.raises(InputError, match="not valid dataset sources"):
        push(ME, "inference", bundle, QUICK)
    assert not Sent(bundle / SENT).of("me/cspine-inference")


@pytest.mark.parametrize("owner", ["", "OWNER", "../me", "a b", "-me", "me/x"])
def test_an_owner_that_can_not_be_one_is_refused(owner):
    with pytest.raises(InputError, match="expected your Kaggle user name"):
        Account(owner, "cspine")


def test_an_owner_who_is_not_logged_in_is_refused_before_anything_is_sent(kaggle, bundle):
    with pytest.raises(InputError, match="acts for me; give OWNER=me"):
        push(Account("someone", "cspine"), "inference", bundle, QUICK)
    assert not kaggle.blobs


def test_without_credentials_it_says_how_to_get_some(kaggle, bundle, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(InputError, match="authentication required.*make kaggle-doctor"):
        push(ME, "inference", bundle, QUICK)


def test_without_a_bundle_it_says_how_to_make_one(kaggle, tmp_path):
    with pytest.raises(InputError, match="`make bundle`"):
        push(ME, "inference", tmp_path, QUICK)


def test_models_that_are_not_in_the_bundle_come_from_the_kernel_that_trains(kaggle, bundle):
    shutil.rmtree(bundle / "models")
    with pytest.raises(InputError, match="cspine-train: not on Kaggle yet; `make push KERNEL=train`"):
        push(ME, "inference", bundle, QUICK)
    kaggle.kernels["me/cspine-train"] = Kernel(status="ERROR", failure="no memory")
    with pytest.raises(InputError, match="its state is error: no memory"):
        push(ME, "inference", bundle, QUICK)
    kaggle.kernels["me/cspine-train"].status = "COMPLETE"
    push(ME, "inference", bundle, QUICK)
    saved = kaggle.kernels["me/cspine-inference"].versions[0]
    assert saved["datasetDataSources"] == ["me/cspine-code"]
    assert saved["kernelDataSources"] == ["me/cspine-train"]


# following and submitting


@pytest.fixture
def pushed(kaggle, bundle, tmp_path) -> Following:
    """A kernel whose first version was pushed and has left a valid submission."""
    kaggle.kernels["me/cspine-inference"] = Kernel([{}], status="COMPLETE")
    Sent(bundle / SENT).note("me/cspine-inference", version=1)
    sample = long(["1.2.1", "1.2.2"], np.full((2, 8), 0.5)).to_csv(index=False)
    kaggle.files["sample_submission.csv"] = sample.encode()
    kernel = kaggle.kernels["me/cspine-inference"]
    rehearsal = {"studies": 20, "on_constants": 1, "hours_for_1093_studies": 4.5}
    kernel.outputs = {
        "submission.csv": sample.encode(),
        "inference.json": json.dumps({"rehearsal": rehearsal}).encode(),
        "fallbacks.csv": b"StudyInstanceUID,reason\n",
    }
    kernel.log = json.dumps([{"stream_name": "stdout", "time": 1, "data": "studies 2\nended with 0\n"}])
    return Following("inference", bundle, tmp_path / "nothing", tmp_path / "fetched")


def test_a_kernel_is_followed_to_its_end_and_its_submission_is_checked(kaggle, pushed, capsys):
    kaggle.kernels["me/cspine-inference"].running = 2
    assert follow(ME, pushed, QUICK) == 1
    said = capsys.readouterr().out
    assert "  ended with 0" in said and "hours for the scoring run 4.5" in said
    assert (pushed.out / "inference" / "submission.csv").is_file()
    assert Sent(pushed.bundle / SENT).of("me/cspine-inference")["complete"] == 1


def test_asked_once_it_tells_what_is_running(kaggle, pushed, capsys):
    kaggle.kernels["me/cspine-inference"].running = 1
    assert follow(ME, pushed) == 1
    assert "running, version 1" in capsys.readouterr().out
    assert not pushed.out.exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda kernel: kernel.outputs.pop("submission.csv"), "holds no submission.csv"),
        (
            lambda kernel: kernel.outputs.update({"submission.csv": b"row_id,fractured\n1.2.1_C1,0.5\n"}),
            "submission.csv",
        ),
        (lambda kernel: kernel.outputs.update({"submission.csv": b"<html>Error</html>"}), "submission.csv"),
        (
            lambda kernel: vars(kernel).update(status="ERROR", failure="it was killed"),
            "ended as error: it was killed",
        ),
        (lambda kernel: vars(kernel).update(status="CANCEL_ACKNOWLEDGED"), "ended as cancel_acknowledged"),
    ],
)
def test_what_went_wrong_on_kaggle_is_an_error_here(kaggle, pushed, harm, words):
    harm(kaggle.kernels["me/cspine-inference"])
    with pytest.raises(InputError, match=words):
        follow(ME, pushed, QUICK)
    with pytest.raises(InputError):
        submit(ME, pushed, "", QUICK)
    assert not kaggle.submissions


def test_an_error_page_is_not_taken_for_a_submission(kaggle, pushed):
    kaggle.faults["Get", 403] = 1000
    with pytest.raises(InputError):
        follow(ME, pushed, QUICK)


def test_a_version_is_submitted_once_and_its_scores_are_told(kaggle, pushed, capsys):
    submit(ME, pushed, "the first", QUICK)
    assert "public 0.31, private 0.33" in capsys.readouterr().out
    submit(ME, pushed, "the first", QUICK)
    assert len(kaggle.submissions) == 1
    entry = kaggle.submissions[0]
    assert (entry["kernelVersion"], entry["fileName"]) == (1, "submission.csv")
    assert entry["submissionDescription"] == "the first"
    kaggle.kernels["me/cspine-inference"].versions.append({})
    Sent(pushed.bundle / SENT).note("me/cspine-inference", version=2)
    submit(ME, pushed, "", QUICK)
    assert [entry["kernelVersion"] for entry in kaggle.submissions] == [1, 2]


def test_a_version_that_still_runs_is_not_submitted(kaggle, pushed):
    kaggle.kernels["me/cspine-inference"].running = 10
    with pytest.raises(InputError, match="has not finished"):
        submit(ME, pushed, "", QUICK)
    assert not kaggle.submissions


def test_a_failed_scoring_is_an_error(kaggle, pushed, monkeypatch):
    rows = [{"ref": 100, "status": "ERROR", "publicScore": "", "privateScore": ""}]
    monkeypatch.setattr(Standin, "ListSubmissions", lambda self, _: {"submissions": rows})
    with pytest.raises(InputError, match="submission 100: scoring failed"):
        submit(ME, pushed, "", QUICK)


def test_nothing_that_was_not_pushed_from_here_is_submitted(kaggle, bundle, tmp_path):
    following = Following("inference", bundle, tmp_path, tmp_path / "fetched")
    with pytest.raises(InputError, match="no version of it was sent from here"):
        submit(ME, following, "", QUICK)
    with pytest.raises(InputError, match="not on Kaggle; `make push KERNEL=inference`"):
        follow(ME, following, QUICK)


def test_a_log_may_be_text_or_nothing(tmp_path):
    log = tmp_path / "x.log"
    assert last_lines(log) == ["(Kaggle gave no log)"]
    log.write_text("\n".join(map(str, range(50))))
    assert last_lines(log) == [str(number) for number in range(30, 50)]


# the doctor


def found(kaggle_bundle: Path) -> dict[str, tuple[bool, str]]:
    return {finding.subject: (finding.is_right, finding.words) for finding in examine(ME, kaggle_bundle)}


def test_the_doctor_finds_all_well(kaggle, bundle, capsys):
    findings = examine(ME, bundle)
    report(findings, "to push")
    said = capsys.readouterr().out
    assert [finding.subject for finding in findings] == [
        "client", "credentials", "login", "rules", "quota", "datasets", "kernels", "bundle", "python", "tree",
    ]  # fmt: skip
    assert "environment variables KAGGLE_USERNAME and KAGGLE_KEY" in said
    assert "30.0 GPU hours" in said and KEY not in said


@pytest.mark.parametrize(
    ("subject", "harm", "words"),
    [
        ("rules", lambda kaggle: kaggle.faults.update({("DownloadDataFile", 403): 9}), "accept its rules"),
        ("quota", lambda kaggle: vars(kaggle).update(quota_h=0.2), "0.2 GPU hours are left"),
        (
            "datasets",
            lambda kaggle: kaggle.datasets.update({"me/cspine-code": Dataset([{}], failed=True)}),
            "failed",
        ),
        ("login", lambda kaggle: vars(kaggle), "acts for other; give OWNER=other"),
        ("credentials", lambda kaggle: vars(kaggle), "none found; make a token"),
        (
            "kernels",
            lambda kaggle: kaggle.faults.update({("GetKernelSessionStatus", 500): 99}),
            "Kaggle failed",
        ),
    ],
)
def test_the_doctor_names_what_is_wrong(kaggle, bundle, monkeypatch, subject, harm, words):
    harm(kaggle)
    if subject == "login":
        monkeypatch.setenv("KAGGLE_USERNAME", "other")
    if subject == "credentials":
        monkeypatch.delenv("KAGGLE_KEY")
    findings = examine(ME, bundle)
    said = next(finding.words for finding in findings if finding.subject == subject and not finding.is_right)
    assert re.search(words, said), said
    with pytest.raises(InputError, match=subject):
        report(findings, "to push")


def test_the_doctor_looks_at_the_bundle_the_wheels_the_client_and_the_files_with_secrets(
    kaggle, bundle, monkeypatch, tmp_path
):
    (bundle / "code/wheels/pebble-5-cp313-cp313-linux_x86_64.whl").unlink()
    looked = found(bundle)
    assert "no wheel for Python 3.13" in looked["python"][1]
    assert "cp313-cp313-linux_x86_64.whl missing; `make bundle`" in looked["bundle"][1]
    folder = tmp_path / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text(json.dumps({"username": "me", "key": KEY}))
    (folder / "kaggle.json").chmod(0o644)
    monkeypatch.setattr("cspine.kaggle.doctor.installed", lambda: "2.2.2")
    looked = found(tmp_path)
    right, words = looked["credentials"]
    assert not right and "chmod 600" in words and KEY not in words
    assert "lost files silently" in looked["client"][1]
    assert "make bundle" in looked["bundle"][1] and "login" not in looked


# the client


def test_the_pinned_client_is_installed():
    assert installed() == client_module.PINNED
    assert f"kaggle=={client_module.PINNED}" in (ROOT / "requirements.txt").read_text()


def test_without_the_client_it_says_how_to_install_it(monkeypatch):
    def gone(name):
        raise client_module.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(client_module.importlib.metadata, "version", gone)
    with pytest.raises(InputError, match="pip install"):
        installed()


def test_a_secret_is_not_repeated(kaggle, monkeypatch):
    monkeypatch.setattr(Standin, "GetDatasetStatus", lambda self, _: {"status": KEY})
    with pytest.raises(Refused) as caught:
        KaggleClient().ask("datasets", "status", "me/cspine-code")
    assert KEY not in str(caught.value)


def test_a_listing_of_several_pages_is_read_to_its_end(kaggle):
    kaggle.datasets["me/cspine-code"] = Dataset([{f"file{number}": b"abc" for number in range(450)}])
    assert KaggleClient().dataset_files("me/cspine-code") == {f"file{number}": 3 for number in range(450)}


# all kernels


@pytest.mark.parametrize(
    "kernel", sorted(path.name for path in (ROOT / "kernels").iterdir() if path.is_dir())
)
def test_the_metadata_of_a_kernel_is_what_kaggle_needs(kernel):
    metadata = kernel_metadata(ME, kernel, ["code", "models"])
    assert metadata["enable_internet"] is (kernel == "train")  # it fetches the encoder's weights
    assert metadata["is_private"] is True
    assert metadata["id"] == f"me/cspine-{kernel}" and metadata["title"] == f"cspine {kernel}"
    assert (ROOT / "kernels" / kernel / metadata["code_file"]).is_file()
    assert metadata["kernel_type"] == "script" and "OWNER" not in json.dumps(metadata)
    assert "me/cspine-code" in metadata["dataset_sources"]


@pytest.mark.parametrize("kernel", ["prepare", "locate", "columns", "train"])
def test_a_stage_goes_on_from_its_own_output(kaggle, bundle, kernel):
    before = [ref.rsplit("-", 1)[1] for ref in kernel_metadata(ME, kernel, ["code"])["kernel_sources"]]
    for name in before:
        kaggle.kernels[f"me/cspine-{name}"] = Kernel(status="COMPLETE")
    Sent(bundle / SENT).note("me/cspine-code", content=content_of(bundle / "code"))
    kaggle.datasets["me/cspine-code"] = Dataset([on_kaggle(bundle / "code")])
    push(ME, kernel, bundle, QUICK)
    with pytest.raises(InputError, match="is running; a new one would not see its output"):
        push(ME, kernel, bundle, QUICK)
    kaggle.kernels[f"me/cspine-{kernel}"].running = 0
    push(ME, kernel, bundle, QUICK)
    asked = [
        set(version.get("kernelDataSources", []))
        for version in kaggle.kernels[f"me/cspine-{kernel}"].versions
    ]
    assert asked[1] - asked[0] == {f"me/cspine-{kernel}"}
    assert asked[0] == {f"me/cspine-{name}" for name in before}
    assert "me/cspine-models" not in kaggle.datasets


def stage_output(kaggle, kernel: str, **facts) -> None:
    whole = {
        "done": 5,
        "studies": 5,
        "failed": {},
        "complete": True,
        "problem": "",
        "hours": 1,
        "gigabytes": 2,
    }
    outputs = {
        f"cspine-{kernel}.json": json.dumps({**whole, **facts}).encode(),
        "cache/volumes/fold0.zip": b"x" * 9,
    }
    kaggle.kernels[f"me/cspine-{kernel}"] = Kernel([{}], status="COMPLETE", outputs=outputs)


def test_a_stage_is_followed_by_its_own_summary_and_its_gigabytes_stay_there(
    kaggle, bundle, tmp_path, capsys
):
    following = Following("prepare", bundle, tmp_path, tmp_path / "fetched")
    stage_output(kaggle, "prepare")
    follow(ME, following, QUICK)
    assert "done 5" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "fetched" / "prepare").iterdir()] == ["cspine-prepare.json"]
    assert "complete" in Sent(bundle / SENT).of("me/cspine-prepare")
    stage_output(kaggle, "columns", complete=False, done=3)
    follow(ME, Following("columns", bundle, tmp_path, tmp_path / "fetched"), QUICK)
    assert "`make push KERNEL=columns` goes on from here" in capsys.readouterr().out
    assert "complete" not in Sent(bundle / SENT).of("me/cspine-columns")
    stage_output(kaggle, "train", complete=False, done=1, problem="train1 ended with exit code 1")
    with pytest.raises(InputError, match="train1 ended with exit code 1; what was done is kept"):
        follow(ME, Following("train", bundle, tmp_path, tmp_path / "fetched"), QUICK)


def test_the_script_tells_what_is_wrong_in_a_sentence(kaggle, bundle):
    command = [
        sys.executable,
        str(ROOT / "src" / "push.py"),
        "--owner",
        "me",
        "--bundle",
        str(bundle),
        "--poll-s",
    ]
    done = subprocess.run(
        [*command, "0.01"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    kaggle.faults["SaveKernel", 403] = 9
    done = subprocess.run(
        [*command, "0.01"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: kaggle kernels push"), done.stderr
    assert "Traceback" not in done.stderr and KEY not in done.stderr + done.stdout
