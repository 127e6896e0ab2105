"""`braid verify URL` and `braid explain URL` as clients of an API that asks for keys."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from braid.errors import UsageError
from cli.verify import asked

KEY = "a-key-of-nobody"


class Locked(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        let_in = self.headers["Authorization"] == f"Bearer {KEY}"
        body = json.dumps({"path": self.path} if let_in else {"detail": "expected a key"}).encode()
        self.send_response(200 if let_in else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/view"
        server.shutdown()
        thread.join()


def test_the_key_in_the_named_file_is_sent(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", "utf-8")
    monkeypatch.setenv("BRAID_KEY_FILE", str(tmp_path / "key"))
    assert asked(f"{address}?limit=3") == ({"path": "/view?limit=3&state=1"}, None)


def test_without_one_the_refusal_says_how_to_name_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAID_KEY_FILE", raising=False)
    with pytest.raises(UsageError, match=r"got 401: expected a key; name a file that holds a key: BRAID_KEY_FILE=…"):
        asked(address)


def test_a_file_that_cannot_be_read_is_named(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAID_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"BRAID_KEY_FILE: expected a file that holds an API key, got .*none"):
        asked(address)
