"""Asked before hours of work: is a pretrained encoder to be had? Real hubs on this machine, silent, empty and full."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

SRC = Path(__file__).resolve().parents[2] / "src"
CODE = """
import sys, time
from cspine.errors import InputError
from cspine.networks.encoder_weights import check_encoder_weights
from cspine.settings.networks import ClassifierSettings

start = time.perf_counter()
try:
    check_encoder_weights(ClassifierSettings(encoder="test_resnet.r160_in1k", pretrained=True), *sys.argv[1:])
except InputError as error:
    print(f"{time.perf_counter() - start:.1f}|{error}")
else:
    print(f"{time.perf_counter() - start:.1f}|fine")
"""


@contextmanager
def hub(status: int, asked: list[str]):
    """A hub that answers every HEAD with a status."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(status)
            if status == 200:
                self.send_header("ETag", '"abc"')
                self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(port: int, home: Path, *flags: str) -> tuple[float, str]:
    """Check the weights in a process of their own: seconds, and what was said."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(SRC),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, *flags], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, _, message = done.stdout.partition("|")
    return float(seconds), message.strip()


def test_a_hub_that_has_them(tmp_path):
    asked = []
    with hub(200, asked) as port:
        assert ask(port, tmp_path)[1] == "fine"
    assert asked and asked[0].endswith("/timm/test_resnet.r160_in1k/resolve/main/model.safetensors")


def test_a_hub_without_them(tmp_path):
    asked = []
    with hub(404, asked) as port:
        _, message = ask(port, tmp_path)
    assert "test_resnet.r160_in1k" in message and "--encoder-weights FILE" in message
    assert {path.rpartition("/")[2] for path in asked} == {"model.safetensors", "pytorch_model.bin"}


def test_a_hub_that_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        seconds, message = ask(silent.getsockname()[1], tmp_path)
    assert seconds < 5
    assert "--no-pretrained" in message


@pytest.mark.parametrize("where", ["given", "kept"])
def test_weights_that_are_here_need_no_hub(tmp_path, where):
    asked = []
    kept = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    snapshot = kept / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    if where == "kept":
        (snapshot / "model.safetensors").write_bytes(b"x")
    given = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, given)
    with hub(404, asked) as port:
        assert ask(port, tmp_path, *([str(given)] if where == "given" else []))[1] == "fine"
    assert not asked
