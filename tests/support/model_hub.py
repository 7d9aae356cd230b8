"""A stand-in for the model hub, over 127.0.0.1: the requests by which its own library sends and fetches files."""

import base64
import contextlib
import hashlib
import json
from http.server import BaseHTTPRequestHandler

from support.live_servers import http_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories, by name, as their files; what was asked; and the token that is accepted."""

    def __init__(self, token):
        self.token, self.files, self.large, self.cards = token, {}, {}, []

    def post(self, path, body, address):
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.files.setdefault(name, {})
            return {"url": f"{address}/{name}"}
        if path == "/api/validate-yaml":
            self.cards.append(json.loads(body)["content"])
            return {"errors": [], "warnings": []}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            where = {one["oid"]: {"upload": {"href": f"{address}/lfs/{one['oid']}"}} for one in objects}
            return {"transfer": "basic", "objects": [{**one, "actions": where[one["oid"]]} for one in objects]}
        if "/preupload/" in path:
            large = [one["path"].endswith(".safetensors") for one in json.loads(body)["files"]]
            return {
                "files": [
                    {"path": one["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
                    for one, is_large in zip(json.loads(body)["files"], large, strict=True)
                ]
            }
        repository = path.removeprefix("/api/models/").partition("/commit/")[0]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[repository][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repository][value["path"]] = self.large[value["oid"]]
        return {"success": True, "commitOid": COMMIT, "commitUrl": f"{address}/{repository}/commit/{COMMIT}"}

    def get(self, path):
        """(content, whether it is a file of a repository); None: there is none."""
        if path.startswith("/api/models/"):
            name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
            known = {"id": name, "modelId": name, "sha": COMMIT, "siblings": [], "private": False, "tags": []}
            return (json.dumps(known).encode(), False) if name in self.files else None
        name, _, rest = path.lstrip("/").partition("/resolve/")
        content = self.files.get(name, {}).get(rest.partition("/")[2])
        return None if content is None else (content, True)


@contextlib.contextmanager
def model_hub(token="a-token"):
    """The hub, and the environment of a process that uses it."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        def _body(self):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _send(self, content, headers=(), *, code=200):
            self.send_response(code)
            for key, value in [("Content-Length", str(len(content))), *headers]:
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_POST(self):
            body = self._body()
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._send(b'{"error": "Invalid username or password."}', code=401)
                return
            answer = hub.post(self.path.partition("?")[0], body, f"http://{self.headers['Host']}")
            self._send(json.dumps(answer).encode(), [("Content-Type", "application/json")])

        def do_PUT(self):
            content = self._body()
            assert hashlib.sha256(content).hexdigest() == self.path.removeprefix("/lfs/")
            hub.large[self.path.removeprefix("/lfs/")] = content
            self._send(b"")

        def do_GET(self):
            held = hub.get(self.path.partition("?")[0])
            if held is None:
                self._send(b"", [("X-Error-Code", "RepoNotFound")], code=404)
                return
            content, is_file = held
            etag = [("ETag", f'"{hashlib.sha256(content).hexdigest()}"'), ("X-Repo-Commit", COMMIT)] if is_file else []
            self._send(content, etag)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http_server(Handler) as address:
        yield hub, {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1"}
