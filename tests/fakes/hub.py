"""The hub of models in small: repositories in memory behind the hub's own HTTP API."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest

__all__ = ["TOKEN", "Hub", "Repo", "serve_hub"]

TOKEN = "hf_of_ours"
"""Writes to repositories of every owner but those of `Hub.foreign`."""


@dataclass
class Repo:
    """A repository: what it holds, and how many commits made it so."""

    private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self) -> str:
        """Hash of the last commit."""
        return hashlib.sha1(f"{self.commits}".encode()).hexdigest()


@dataclass
class Hub:
    """What the server knows.

    Attributes:
        endpoint: Its address.
        repos: ``owner/name`` to repository.
        foreign: Owners whose repositories the token may not write to.
        broken: Answer commits with an error of the server.
        blobs: Large files by SHA-256, uploaded before they are committed.
    """

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    broken: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def serve_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run one on a free port, and let this process and those that it starts ask it."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    constants = huggingface_hub.constants
    for name, value in (
        ("HF_HUB_OFFLINE", "0"),
        # Large files go by the plain protocol, which every release of the client knows.
        ("HF_HUB_DISABLE_XET", "1"),
        ("HF_ENDPOINT", hub.endpoint),
        ("HF_TOKEN", TOKEN),
    ):
        monkeypatch.setenv(name, value)
    # Read from the environment when the client was imported.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    url = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def answer(self, body: Any, status: int = 200, **headers: str) -> None:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

        def refuse(self, status: int, code: str, message: str) -> None:
            extra = {"X_Error_Code": code} if code else {}
            self.answer({"error": message}, status, X_Error_Message=message, **extra)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        @property
        def known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def repo(self, name: str) -> Repo | None:
            found = hub.repos.get(name)
            if found and (self.known or not found.private):
                return found
            self.refuse(404, "RepoNotFound", "Repository not found")
            return None

        def may_write(self, name: str) -> bool:
            if not self.known:
                self.refuse(401, "", "Invalid credentials")
            elif name.partition("/")[0] in hub.foreign:
                self.refuse(403, "", "You don't have the rights to write there")
            else:
                return True
            return False

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                name = "/".join(parts[2:4])
                if (repo := self.repo(name)) is None:
                    return
                if parts[4:5] == ["tree"]:
                    self.answer([_entry(p, c) for p, c in repo.files.items()])
                    return
                self.answer(
                    {
                        "id": name,
                        "sha": repo.sha,
                        "private": repo.private,
                        "siblings": [{"rfilename": path} for path in repo.files],
                    }
                )
                return
            name, path = "/".join(parts[:2]), "/".join(parts[4:])
            if (repo := self.repo(name)) is None:
                return
            if path not in repo.files:
                self.refuse(404, "EntryNotFound", f"no {path}")
                return
            content = repo.files[path]
            self.answer(
                content,
                ETag=f'"{hashlib.sha256(content).hexdigest()}"',
                X_Repo_Commit=repo.sha,
            )

        def do_PUT(self) -> None:
            content = self.body()
            hub.blobs[hashlib.sha256(content).hexdigest()] = content
            self.answer(b"")

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path)
            raw = self.body()
            if path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                asked = json.loads(raw)
                name = f"{asked['organization']}/{asked['name']}"
                if not self.may_write(name):
                    return
                if name in hub.repos:
                    self.refuse(409, "", "You already created this model repo")
                    return
                private = asked.get("private", asked.get("visibility") == "private")
                hub.repos[name] = Repo(private, {".gitattributes": b"*"})
                self.answer({"url": f"{hub.endpoint}/{name}"})
            elif path.endswith("/objects/batch"):
                objects = json.loads(raw)["objects"]
                upload = {
                    o["oid"]: {"upload": {"href": f"{hub.endpoint}/lfs/{o['oid']}"}}
                    for o in objects
                }
                made = [{**o, "actions": upload[o["oid"]]} for o in objects]
                self.answer({"transfer": "basic", "objects": made})
            else:
                self.change("/".join(path.split("/")[3:5]), path.split("/")[5], raw)

        def change(self, name: str, what: str, raw: bytes) -> None:
            if not self.may_write(name) or (repo := self.repo(name)) is None:
                return
            if what == "preupload":
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs"
                        if file["path"].endswith((".safetensors", ".onnx"))
                        else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(raw)["files"]
                ]
                self.answer({"files": files})
                return
            if hub.broken:
                self.refuse(400, "", "the disks of the hub are full")
                return
            for line in map(json.loads, raw.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repo.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repo.files[value["path"]] = hub.blobs[value["oid"]]
                elif line["key"] == "deletedFile":
                    del repo.files[value["path"]]
            repo.commits += 1
            url = f"{hub.endpoint}/{name}/commit/{repo.sha}"
            self.answer({"success": True, "commitUrl": url, "commitOid": repo.sha})

    return Handler


def _entry(path: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": digest[:40]}
