"""A stand-in for Kaggle's server, to which the genuine client talks; with its quirks, and with faults on demand."""

import io
import json
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

KEY = "a-key-that-nobody-may-see"
LICENCES = ("other", "CC0-1.0", "unknown", "apache-2.0")


class Fault(Exception):
    """Answer with an HTTP status instead."""

    def __init__(self, status: int, words: str = "fault on demand"):
        super().__init__(words)
        self.status = status


class Redirect(Exception):
    """Send the client to where a file lies."""


class Dropped(Exception):
    """Close the connection without an answer."""


@dataclass
class Dataset:
    versions: list[dict[str, bytes]] = field(default_factory=list)
    making: int = 0
    """Questions about its status that are still answered with "not ready"."""
    failed: bool = False


@dataclass
class Kernel:
    versions: list[dict[str, Any]] = field(default_factory=list)
    status: str = "RUNNING"
    failure: str = ""
    outputs: dict[str, bytes] = field(default_factory=dict)
    log: str = ""
    running: int = 0
    """Questions about its status that are still answered with RUNNING."""


def standin_has(standin: "Standin", path: str) -> bool:
    """Whether an upload has arrived."""
    return bool(standin.blobs[path.rsplit("/", 1)[-1]][1])


class Standin:
    """What Kaggle knows. Faults: (method, HTTP status or "drop" or "lose" or "cut") -> how often from now on."""

    def __init__(self, user: str = "me"):
        self.user = user
        self.datasets: dict[str, Dataset] = {}
        self.kernels: dict[str, Kernel] = {}
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.submissions: list[dict[str, Any]] = []
        self.files = {"sample_submission.csv": b"row_id,fractured\n"}
        self.faults: dict[tuple[str, Any], int] = {}
        self.calls: Counter[str] = Counter()
        self.slow = 1
        """Questions until something new is ready."""
        self.quota_h = 30.0
        self.deleted: set[str] = set()
        self.lock = threading.Lock()
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                standin.serve(self)

            do_PUT = do_GET = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def environment(self) -> dict[str, str]:
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self.port}",
            "no_proxy": "",
            "NO_PROXY": "",
            "KAGGLE_USERNAME": self.user,
            "KAGGLE_KEY": KEY,
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # the wire

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = urlsplit(handler.path).path
        method = "Put" if handler.command == "PUT" else path.rsplit("/", 1)[-1]
        if handler.command == "GET":
            method = "Get"
        try:
            with self.lock:
                self.calls[method] += 1
                fault = self._due(method)
                if fault == "drop":
                    raise Dropped
                if isinstance(fault, int):
                    raise Fault(fault)
                asks_how_far = (handler.headers.get("Content-Range") or "").startswith("bytes */")
                if asks_how_far and not standin_has(self, path):
                    raise Fault(308, "nothing has arrived yet")
                answer = {} if asks_how_far else self._answer(method, path, body, fault)
        except Dropped:
            handler.close_connection = True
            return
        except Redirect as error:
            content = b""
            handler.send_response(302)
            handler.send_header("Location", str(error))
        except Fault as error:
            content = json.dumps({"code": error.status, "message": str(error)}).encode()
            handler.send_response(error.status)
        else:
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            handler.send_response(200)
        handler.send_header("Content-Type", "application/json" if content[:1] == b"{" else "text/plain")
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("Last-Modified", "Sun, 01 Nov 2026 10:00:00 GMT")
        handler.end_headers()
        handler.wfile.write(content)

    def _due(self, method: str) -> Any:
        for (wanted, fault), left in self.faults.items():
            if wanted == method and left > 0:
                self.faults[wanted, fault] -= 1
                return fault
        return None

    def _answer(self, method: str, path: str, body: bytes, fault: Any) -> Any:
        if method == "Put":
            name, _ = self.blobs[path.rsplit("/", 1)[-1]]
            content = b"" if fault == "lose" else body[: len(body) // 2] if fault == "cut" else body
            self.blobs[path.rsplit("/", 1)[-1]] = (name, content)
            return {}
        if method == "Get":
            _, owner, slug, name = path.lstrip("/").split("/", 3)
            if owner == "competition":
                return self.files[name]
            return self.kernels[f"{owner}/{slug}"].outputs[name]
        asked = json.loads(body or b"{}")
        answer = getattr(self, method, None)
        if answer is None:
            raise Fault(501, f"the stand-in doesn't know {method}")
        return answer(asked)

    # datasets

    def _dataset(self, asked: dict[str, Any]) -> Dataset:
        ref = f"{asked['ownerSlug']}/{asked['datasetSlug']}"
        if ref not in self.datasets:
            raise Fault(404, "not found")
        if asked["ownerSlug"] != self.user:
            raise Fault(403, "Permission 'datasets.get' was denied")
        return self.datasets[ref]

    def StartBlobUpload(self, asked):
        token = f"blob{len(self.blobs)}"
        self.blobs[token] = (asked["name"], b"")
        return {"token": token, "createUrl": f"http://127.0.0.1:{self.port}/upload/{token}"}

    def _unpacked(self, files: list[dict[str, Any]]) -> dict[str, bytes]:
        found = {}
        for file in files:
            name, content = self.blobs[file["token"]]
            if name.endswith(".zip"):
                if not zipfile.is_zipfile(io.BytesIO(content)):
                    continue  # what was lost on the way can't be unpacked, and Kaggle does not say so
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    for inner in archive.namelist():
                        if not inner.endswith("/"):
                            found[f"{name[:-4]}/{inner}"] = archive.read(inner)
            else:
                found[name] = content
        return found

    def CreateDataset(self, asked):
        ref = f"{asked['ownerSlug']}/{asked['slug']}"
        if ref in self.deleted:
            raise Fault(500, "internal error")
        if asked["ownerSlug"] != self.user:
            raise Fault(403, "Permission 'datasets.create' was denied")
        if ref in self.kernels:
            raise Fault(400, "there is a kernel of this name")
        assert asked["licenseName"] in LICENCES and asked["isPrivate"] is True
        self.datasets[ref] = Dataset([self._unpacked(asked["files"])], self.slow)
        return {"ref": ref, "url": f"http://localhost/{ref}", "status": "ok"}

    def CreateDatasetVersion(self, asked):
        dataset = self._dataset(asked)
        if dataset.making > 0:
            raise Fault(403, "the first version is still in the making")
        dataset.versions.append(self._unpacked(asked["body"]["files"]))
        dataset.making, dataset.failed = self.slow, False
        return {"ref": "x", "url": "http://localhost/x", "status": "ok"}

    def GetDatasetStatus(self, asked):
        dataset = self._dataset(asked)
        if dataset.making > 0:
            dataset.making -= 1
            return {"status": "BLOBS_RECEIVED"}
        return {"status": "FAILED" if dataset.failed else "READY"}

    def GetDataset(self, asked):
        return {"currentVersionNumber": len(self._dataset(asked).versions)}

    def ListDatasetFiles(self, asked):
        files = sorted(self._dataset(asked).versions[-1].items())
        start, size = int(asked.get("pageToken") or 0), int(asked.get("pageSize") or 20)
        page = [{"name": name, "totalBytes": len(content)} for name, content in files[start : start + size]]
        answer = {"datasetFiles": page}
        if start + size < len(files):
            answer["nextPageToken"] = str(start + size)
        return answer

    # kernels

    def _kernel(self, asked: dict[str, Any]) -> Kernel:
        ref = f"{asked['userName']}/{asked['kernelSlug']}"
        if ref not in self.kernels:
            raise Fault(403, "Permission 'kernels.get' was denied")
        return self.kernels[ref]

    def SaveKernel(self, asked):
        ref = asked["slug"]
        if not ref.startswith(f"{self.user}/"):
            raise Fault(403, "Permission 'kernels.save' was denied")
        kernel = self.kernels.setdefault(ref, Kernel())
        kernel.versions.append(asked)
        kernel.status, kernel.running, kernel.failure = "COMPLETE", self.slow, ""
        no_data = [source for source in asked.get("datasetDataSources", []) if source not in self.datasets]
        no_kernel = [source for source in asked.get("kernelDataSources", []) if source not in self.kernels]
        return {
            "ref": ref, "url": f"http://localhost/code/{ref}", "versionNumber": len(kernel.versions),
            "invalidDatasetSources": no_data, "invalidKernelSources": no_kernel,
        }  # fmt: skip

    def GetKernelSessionStatus(self, asked):
        kernel = self._kernel(asked)
        if kernel.running > 0:
            kernel.running -= 1
            return {"status": "RUNNING"}
        return {"status": kernel.status, "failureMessage": kernel.failure or None}

    def ListKernelSessionOutput(self, asked):
        kernel, ref = self._kernel(asked), f"{asked['userName']}/{asked['kernelSlug']}"
        files = [
            {"fileName": name, "url": f"http://127.0.0.1:{self.port}/output/{ref}/{name}"}
            for name in kernel.outputs
        ]
        return {"files": files, "log": kernel.log}

    def GetAcceleratorQuotaStatistics(self, _):
        return {
            "quotaRefreshTime": "2026-12-05T00:00:00Z",
            "gpuQuota": {"timeUsed": f"{(30 - self.quota_h) * 3600:.0f}s", "totalTimeAllowed": "108000s"},
        }

    # the competition

    def DownloadDataFile(self, asked):
        raise Redirect(f"http://127.0.0.1:{self.port}/output/competition/it/{asked['fileName']}")

    def CreateCodeSubmission(self, asked):
        ref = f"{asked['kernelOwner']}/{asked['kernelSlug']}"
        if ref not in self.kernels or asked["kernelVersion"] > len(self.kernels[ref].versions):
            raise Fault(404, "no such version")
        number = 100 + len(self.submissions)
        self.submissions.append(
            {**asked, "ref": number, "status": "COMPLETE", "publicScore": "0.31", "privateScore": "0.33"}
        )
        return {"message": "Successfully submitted", "ref": number}

    def GetSubmissionLimits(self, _):
        return {"numAllowedNow": 4}

    def ListSubmissions(self, _):
        keys = ("ref", "status", "publicScore", "privateScore")
        return {"submissions": [{key: entry[key] for key in keys} for entry in reversed(self.submissions)]}
