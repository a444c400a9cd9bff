"""Small local server of the Hugging Face hub's protocol for files, and of plain files."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(repositories: dict[str, Path], fault: str = "") -> Iterator[tuple[str, list[str]]]:
    """Serve folders as repositories (``OWNER/REPO`` or ``datasets/OWNER/REPO``); gives the address and the requests.

    The repository ``plain`` holds files without a protocol, or in ``"ranges"``, if ``fault`` has that word. Others
    spoil every answer: ``"cut"`` the connection after half of what was asked for, or send ``"other"`` bytes than were
    promised, or ``"length"``, a long word for their number.
    """
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            requests.append(f"{self.command} {self.path}")
            repository, _, rest = unquote(self.path).lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            if unquote(self.path).startswith("/plain/"):
                repository, revision, name = "plain", "main", unquote(self.path).removeprefix("/plain/")
            if repository not in repositories:
                return self._refuse("RepoNotFound", 401)
            if revision not in ("main", COMMIT):
                return self._refuse("RevisionNotFound")
            path = repositories[repository] / name
            path = path if path.is_file() else path.with_name(path.name.partition("?")[0])
            if not path.is_file():
                return self._refuse("EntryNotFound")
            content = part = path.read_bytes()
            if span := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "") if "ranges" in fault else ""):
                part = content[int(span[1]) : int(span[2] or len(content) - 1) + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {span[1]}-{int(span[1]) + len(part) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if "ranges" in fault:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "abc" * 12_000 if fault == "length" else str(len(part)))
            if path.suffix in (".json", ".txt"):  # in git itself
                blob = b"blob %d\0" % len(content) + content
                self.send_header("ETag", f'"{hashlib.sha1(blob).hexdigest()}"')
            else:
                self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(content)))
            self.end_headers()
            if body:
                half = len(part) // 2
                rest = b"" if "cut" in fault else part[half:][:: -1 if fault == "other" else 1]
                self.wfile.write(part[:half] + rest)
            self.close_connection = True
            return None

        def _refuse(self, code: str, status: int = 404) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
