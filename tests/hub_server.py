"""A Hub on loopback: enough of its HTTP API for the genuine client to download and upload.

Faults are functions `(request path, count of earlier requests to it) -> Fault | None`.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": bytes(range(256)) * 2000,
    "README.md": b"# A model\n",
    "notes.txt": b"not wanted",
}

LARGE = (".safetensors", ".png", ".wav")
REPO = r"(?P<kind>models|spaces|datasets)/(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Fault:
    """What to do instead: answer `status`, wait, cut the body, or lie about it."""

    status: int | None = None
    code: str | None = None  # X-Error-Code
    delay_s: float = 0.0
    cut_at: int | None = None  # bytes of the body after which the connection closes
    body: bytes | None = None  # other bytes than the digest says


def on(word, fault, times=None, method=""):
    """A fault for the first requests whose path holds a word (all of them without `times`)."""

    def decide(request, count):
        wanted = word in request and request.startswith(method)
        return fault if wanted and (times is None or count < times) else None

    return decide


@dataclass
class Repo:
    """Commits, oldest first: sha -> files; `refs` name some of them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None  # needed to see it

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        seed = json.dumps([len(self.commits), *sorted(files)]).encode() + b"".join(files.values())
        sha = hashlib.sha1(seed).hexdigest()
        self.commits[sha], self.refs[ref] = dict(files), sha
        return sha


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(name: str, data: bytes) -> dict:
    found = {"rfilename": name, "path": name, "type": "file", "size": len(data)}
    found |= {"blobId": blob_id(data), "oid": blob_id(data)}
    if name.endswith(LARGE):
        digest = hashlib.sha256(data).hexdigest()
        found["lfs"] = {"sha256": digest, "oid": digest, "size": len(data), "pointerSize": 130}
    return found


class Hub:
    """The state that handlers share."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list = []
        self.seen: Counter = Counter()
        self.log: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, status=200, value=None, data=b"", **headers):
        if value is not None:
            data = json.dumps(value).encode()
            headers["Content-Type"] = "application/json"
        self.send_response(status)
        for name, text in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code=None):
        more = {"X-Error-Code": code} if code else {}
        self.answer(status, {"error": code or str(status)}, **more)

    def route(self):
        self.path = unquote(self.path)
        path = urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self.chunks())
        with self.hub.lock:
            count = self.hub.seen[self.command, path]
            self.hub.seen[self.command, path] += 1
            self.hub.log.append((self.command, path))
        for fault in self.hub.faults:
            found = fault(f"{self.command} {path}", count)
            if found is not None:
                time.sleep(found.delay_s)
                if found.status is not None:
                    return self.refuse(found.status, found.code)
                return self.dispatch(path, found)
        return self.dispatch(path, Fault())

    do_GET = do_HEAD = do_POST = do_PUT = route

    def chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def dispatch(self, path, fault):
        if path == "/api/whoami-v2":
            return self.answer(200, {"name": "tester", "type": "user", "orgs": []})
        if path == "/api/repos/create":
            return self.create()
        if path == "/api/validate-yaml":
            return self.validate_yaml()
        if match := re.fullmatch(rf"/api/{REPO}(/revision/(?P<rev>.+))?", path):
            return self.info(match)
        if match := re.fullmatch(rf"/api/{REPO}/tree/(?P<rev>[^/]+)", path):
            return self.tree(match)
        if match := re.fullmatch(rf"/api/{REPO}/preupload/(?P<rev>.+)", path):
            return self.preupload(match)
        if match := re.fullmatch(rf"/api/{REPO}/commit/(?P<rev>.+)", path):
            return self.commit(match)
        if re.fullmatch(r"/.+\.git/info/lfs/objects/batch", path):
            return self.batch()
        if match := re.fullmatch(r"/lfs/(?P<oid>[0-9a-f]{64})", path):
            assert hashlib.sha256(self.body).hexdigest() == match["oid"]
            self.hub.objects[match["oid"]] = self.body
            return self.answer()
        if path == "/lfs-verify":
            return self.answer(200, {})
        pattern = r"/(datasets/)?(?P<repo>[\w.-]+/[\w.-]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)"
        if match := re.fullmatch(pattern, path):
            return self.resolve(match, fault)
        return self.refuse(404)

    def find(self, match):
        """(commit, files) of a request, or None after a refusal."""
        repo = self.hub.repos.get(match["repo"])
        if repo is None or (
            repo.token and self.headers.get("Authorization") != f"Bearer {repo.token}"
        ):
            self.refuse(401, "RepoNotFound")
            return None
        rev = match.groupdict().get("rev") or "main"
        sha = repo.refs.get(rev, rev)
        if sha not in repo.commits:
            self.refuse(404, "RevisionNotFound")
            return None
        return sha, repo.commits[sha]

    def info(self, match):
        if found := self.find(match):
            sha, files = found
            siblings = [entry(name, data) for name, data in files.items()]
            base = {"id": match["repo"], "sha": sha, "private": False, "tags": []}
            self.answer(200, base | {"siblings": siblings})

    def tree(self, match):
        if found := self.find(match):
            self.answer(200, [entry(name, data) for name, data in found[1].items()])

    def resolve(self, match, fault):
        found = self.find(match)
        if found is None:
            return None
        sha, files = found
        data = files.get(match["file"])
        if data is None:
            return self.refuse(404, "EntryNotFound")
        known, body = entry(match["file"], data), fault.body or data
        digest = known["lfs"]["sha256"] if "lfs" in known else known["blobId"]
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": sha}
        if "lfs" in known:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        start = 0
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start = int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if fault.cut_at is None or self.command == "HEAD":
            return self.answer(206 if start else 200, data=body[start:], **headers)
        self.send_response(206 if start else 200)
        headers["Content-Length"] = str(len(body) - start)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body[start : fault.cut_at])
        self.wfile.flush()
        self.close_connection = True

    def create(self):
        wanted = json.loads(self.body)
        name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        kind = "" if wanted.get("type", "model") == "model" else f"{wanted['type']}s/"
        known = name in self.hub.repos
        if not known:
            self.hub.repos[name] = Repo()
            self.hub.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs"})
        url = f"{self.hub.url}/{kind}{name}"
        return self.answer(409 if known else 200, {"url": url, "name": name, "error": "exists"})

    def validate_yaml(self):
        content = json.loads(self.body)["content"]
        try:
            found = yaml.safe_load(content.split("---")[1])
            errors = [] if found.get("license") else [{"message": "license is missing"}]
        except (yaml.YAMLError, IndexError, AttributeError) as error:
            errors = [{"message": str(error)}]
        return self.answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def files(self, match):
        repo = self.hub.repos[match["repo"]]
        return repo, dict(repo.commits.get(repo.refs.get(match["rev"], ""), {}))

    def preupload(self, match):
        _, known = self.files(match)
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            found = {"path": path, "shouldIgnore": False}
            found["uploadMode"] = "lfs" if path.endswith(LARGE) else "regular"
            if path in known:
                info = entry(path, known[path])
                found["oid"] = info["lfs"]["oid"] if "lfs" in info else info["oid"]
            answers.append(found)
        return self.answer(200, {"files": answers})

    def batch(self):
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            found = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                href = {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}
                found["actions"] = {
                    "upload": href,
                    "verify": {"href": f"{self.hub.url}/lfs-verify"},
                }
            objects.append(found)
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, match):
        repo, files = self.files(match)
        for line in self.body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif row["key"] == "deletedFile":
                files.pop(value["path"])
        sha = repo.commit(files, match["rev"])
        url = f"{self.hub.url}/{match['repo']}/commit/{sha}"
        return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url})


@contextmanager
def running():
    """A Hub on a free port of the loopback interface."""
    hub = Hub()
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
