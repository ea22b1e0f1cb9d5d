"""A server on the loopback that answers huggingface_hub as the Hub does."""

import base64
import contextlib
import hashlib
import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import Handler, Loopback

TOKEN = "hf_of_a_test"  # what the server takes for its user's


class Repo:
    """The commits of a repository, oldest first, and its possible faults."""

    def __init__(self, files=None, *, private=False, gated=False):
        self.private, self.gated = private, gated
        self.trees, self.refs = {}, {}
        self.commit(files or {})

    def commit(self, files: dict, ref: str = "main") -> str:
        """Adds a commit with exactly these files; returns its hash."""
        text = repr((len(self.trees), sorted(files.items())))
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.trees[sha], self.refs[ref] = dict(files), sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.trees else self.refs.get(revision)

    def files(self, revision: str = "main") -> dict:
        return self.trees[self.resolve(revision)]


class Hub(Loopback):
    """The server; a context manager.

    Attributes:
        url: its address.
        repos: by "USER/NAME".
        calls: (method, path) of each request.
        faults: faults instead of an answer, for paths that contain a text: a status, or
            "cut" to send half of the body.
    """

    def __init__(self):
        self.repos, self.calls, self.faults, self.objects = {}, [], {}, {}
        super().__init__(self._handler())
        self.elsewhere = self.url.replace("127.0.0.1", "localhost")  # of large files

    def _handler(hub):
        class Given(Handler):
            def do_HEAD(self):
                self._serve()

            do_GET = do_POST = do_PUT = do_HEAD

            def _serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length) if length else self._chunks()
                self.path, _, _ = self.path.partition("?")
                hub.calls.append((self.command, unquote(self.path)))
                for text, fault in hub.faults.items():
                    if text in self.path and isinstance(fault, int):
                        return self._send(fault, b"a fault")
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._route(urlsplit(self.path).path)

            def _chunks(self):
                data = b""
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        data += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                return data

            def _send(self, status, body=b"", **headers):
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                    headers.setdefault("Content-Type", "application/json")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _refuse(self, status, code):
                self._send(status, {"error": code}, X_Error_Code=code)

            def _route(self, path):
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                if path == "/api/repos/create":
                    return self._create(known)
                if path == "/api/validate-yaml":
                    return self._send(200, {"errors": [], "warnings": []})
                if path == "/api/whoami-v2":
                    return self._send(200 if known else 401, {"name": "u"})
                if match := re.fullmatch(r"/objects/(\w+)", path):
                    return self._object(match[1])
                match = re.fullmatch(
                    r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git)?"
                    r"(?:/(resolve|tree|revision|commit|preupload|paths-info|info)"
                    r"/([^/]+)(?:/(.*))?)?",
                    path,
                )
                repo = match and hub.repos.get(match[1])
                if not repo or (repo.private and not known):
                    return self._refuse(404 if known else 401, "RepoNotFound")
                if repo.gated:
                    return self._refuse(403, "GatedRepo")
                name, what, revision, file = match.groups()
                revision = unquote(revision or "main")
                if what == "info":
                    return self._batch(known)
                commit = repo.resolve(revision)
                if commit is None:
                    return self._refuse(404, "RevisionNotFound")
                if what == "resolve":
                    return self._file(repo, commit, unquote(file))
                if what in ("commit", "preupload"):
                    if not known:
                        return self._send(403, {"error": "no right to write"})
                    if what == "preupload":
                        return self._preupload(repo, revision)
                    return self._commit(repo, name, revision)
                files = repo.trees[commit]
                if what == "paths-info":
                    wanted = parse_qs(self.body.decode()).get("paths", [])
                    files = {k: v for k, v in files.items() if k in wanted}
                if what in ("tree", "paths-info"):
                    entries = [
                        {"type": "file", "path": k, "size": len(v), "oid": _sha1(v)}
                        for k, v in files.items()
                    ]
                    return self._send(200, entries)
                siblings = [{"rfilename": k} for k in files]
                about = {"id": name, "sha": commit, "private": repo.private}
                return self._send(200, about | {"siblings": siblings, "tags": []})

            def _file(self, repo, commit, file):
                data = repo.trees[commit].get(file)
                head = {"X_Repo_Commit": commit}
                if data is None:
                    head["X_Error_Code"] = "EntryNotFound"
                    return self._send(404, b"Entry not found", **head)
                if file.endswith(".safetensors"):  # as LFS has them: elsewhere
                    oid = hashlib.sha256(data).hexdigest()
                    hub.objects[oid] = data
                    head |= {"X_Linked_Etag": f'"{oid}"', "X_Linked_Size": len(data)}
                    return self._send(
                        302, Location=f"{hub.elsewhere}/objects/{oid}", **head
                    )
                if self.command == "HEAD":
                    self.send_response(200)
                    self.send_header("X-Repo-Commit", commit)
                    self.send_header("ETag", f'"{_sha1(data)}"')
                    self.send_header("Content-Length", str(len(data)))
                    return self.end_headers()
                return self._send(200, data, ETag=f'"{_sha1(data)}"', **head)

            def _object(self, oid):
                if self.command == "PUT":
                    assert hashlib.sha256(self.body).hexdigest() == oid
                    hub.objects[oid] = self.body
                    return self._send(200)
                data = hub.objects[oid]
                if any(
                    f == "cut" and text in self.path for text, f in hub.faults.items()
                ):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return None
                return self._send(200, data, ETag=f'"{oid}"')

            def _create(self, known):
                if not known:
                    return self._send(401, {"error": "log in"})
                asked = json.loads(self.body)
                name = f"{asked['organization']}/{asked['name']}"
                url = {"url": f"{hub.url}/{name}"}
                if asked["organization"] != "u":
                    return self._send(403, {"error": "not your namespace"})
                if name in hub.repos:
                    return self._send(409, url | {"error": "it exists"})
                private = asked.get("visibility") == "private" or asked.get("private")
                hub.repos[name] = Repo({".gitattributes": b""}, private=bool(private))
                return self._send(200, url)

            def _preupload(self, repo, revision):
                files = [
                    {
                        "path": asked["path"],
                        "uploadMode": "lfs"
                        if asked["path"].endswith(".safetensors")
                        else "regular",
                        "shouldIgnore": False,
                        "oid": None,
                    }
                    for asked in json.loads(self.body)["files"]
                ]
                return self._send(200, {"files": files})

            def _batch(self, known):
                objects = []
                for asked in json.loads(self.body)["objects"]:
                    href = f"{hub.url}/objects/{asked['oid']}"
                    actions = {"upload": {"href": href}}
                    if asked["oid"] in hub.objects:
                        actions = {}
                    objects.append(asked | ({"actions": actions} if actions else {}))
                return self._send(200, {"transfer": "basic", "objects": objects})

            def _commit(self, repo, name, revision):
                files = dict(repo.files(revision))
                for line in self.body.splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif entry["key"] == "lfsFile":
                        files[value["path"]] = hub.objects[value["oid"]]
                    elif entry["key"] == "deletedFile":
                        del files[value["path"]]
                sha = repo.commit(files, revision)
                url = f"{hub.url}/{name}/commit/{sha}"
                return self._send(200, {"commitUrl": url, "commitOid": sha})

        return Given


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
