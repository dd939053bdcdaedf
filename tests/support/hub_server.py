"""A server on the loopback that answers as the Hugging Face Hub does to what huggingface_hub asks for models."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

import yaml

TOKEN = "hf_right"


class HubServer:
    """Repositories of files, each with one branch; with ``TOKEN`` one may write, and read private ones.

    Attributes:
        url: where it listens.
        repos: content of files by path, by repository.
        private: names of repositories that only the token opens.
        commits: message and paths of each commit, in order.
        refusal: status with which every request is refused, if it is set.
    """

    def __init__(self):
        self.repos, self.private, self.commits, self.refusal = {}, set(), [], None
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def sha(self, repo):
        digest = hashlib.sha1()
        for path, content in sorted(self.repos[repo].items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, content=b"", headers=None, code=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        given = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        if code:
            given["X-Error-Code"] = code
        for key, value in given.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def authorised(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def readable(self, repo):
        hub = self.server_of
        if hub.refusal:
            self.answer(hub.refusal, {"error": "refused"})
            return False
        if repo in hub.repos and (repo not in hub.private or self.authorised):
            return True
        self.answer(401 if not self.authorised else 404, {"error": "Repository not found"}, code="RepoNotFound")
        return False

    def revision(self, repo, name):
        if name in ("main", self.server_of.sha(repo)):
            return True
        self.answer(404, {"error": f"Invalid rev id: {name}"}, code="RevisionNotFound")
        return False

    def do_GET(self):
        hub, path = self.server_of, unquote(self.path.partition("?")[0])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            repo = found[1]
            if self.readable(repo) and self.revision(repo, found[2] or "main"):
                files = [{"rfilename": name} for name in sorted(hub.repos[repo])]
                self.answer(200, {"id": repo, "sha": hub.sha(repo), "siblings": files, "private": repo in hub.private})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            repo = found[1]
            if self.readable(repo) and self.revision(repo, found[2]):
                files = hub.repos[repo].items()
                self.answer(200, [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repo, revision, name = found.groups()
            if self.readable(repo) and self.revision(repo, revision):
                if name not in hub.repos[repo]:
                    self.answer(404, {"error": "no such file"}, code="EntryNotFound")
                    return
                content = hub.repos[repo][name]
                self.answer(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": hub.sha(repo)})
        else:
            self.answer(404, {"error": f"no such path: {path}"})

    do_HEAD = do_GET

    def do_POST(self):
        hub, path = self.server_of, unquote(self.path.partition("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if hub.refusal or not self.authorised:
            self.answer(hub.refusal or 401, {"error": "Invalid username or password."})
        elif path == "/api/validate-yaml":
            metadata = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            errors = [] if isinstance(metadata, dict) else [{"message": "no metadata"}]
            self.answer(200, {"errors": errors, "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            owner, name = asked.get("organization") or "me", asked["name"]
            repo = f"{owner}/{name}"
            url = {"url": f"{hub.url}/{repo}", "name": repo}
            if repo in hub.repos:
                self.answer(409, url | {"error": "You already created this model repo"})
                return
            hub.repos[repo] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                hub.private.add(repo)
            self.answer(200, url)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self.answer(200, {"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            lines = [json.loads(line) for line in body.splitlines()]
            files = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
            hub.repos[found[1]].update(files)
            hub.commits.append((lines[0]["value"]["summary"], sorted(files)))
            sha = hub.sha(found[1])
            self.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{found[1]}/commit/{sha}"})
        else:
            self.answer(404, {"error": f"no such path: {path}"})


def _oid(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
