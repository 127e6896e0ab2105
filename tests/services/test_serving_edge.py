"""The edge of the API as it runs: raw bytes on the wire, slow and many clients, keys, TLS, logs, the end."""

import json
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from braid.adapters.keys import KeyFile
from braid.settings import LOOPBACK, Settings
from tests.services.api import CHECKOUT, Api, landcover_as, running_api
from tests.stack_fixture import names


@pytest.fixture(scope="module")
def api(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Yield an API over a dataset that has not been created: the edge needs no rows."""
    folder = tmp_path_factory.mktemp("edge")
    with running_api(stack, folder, {"edge": landcover_as("edge")}) as found:
        found.until("it listens", lambda: found.get("/healthz"))
        yield found


def exchange(api: Api, sent: bytes, timeout_s: float = 15.0) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; return status, headers and body of what comes back, (0, {}, b"") when nothing does."""
    with socket.create_connection((LOOPBACK, api.settings.ports.api), timeout=timeout_s) as wire:
        wire.sendall(sent)
        got = b""
        while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < length(got):
            more = wire.recv(65536)
            if not more:
                break
            got += more
    if not got:
        return 0, {}, b""
    head, body = got.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split()[1]), headers, body


def length(got: bytes) -> int:
    """Return the length of the body that the headers in `got` announce."""
    found = re.search(rb"content-length: (\d+)", got.split(b"\r\n\r\n", 1)[0].lower())
    return int(found[1]) if found else 0


def request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


STATUS = "/api/v1/status"
MANY = [f"X-Header-{i}: 1" for i in range(100)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(STATUS), 200),
        (request("/nothing"), 404),
        (request("/api/nothing"), 404),
        (request("/%00"), 404),
        (request("/static/%2e%2e/%2e%2e/etc/passwd"), 404),
        (request("/static/..%2f..%2fpyproject.toml"), 404),
        (request("/api/v1/datasets/%c0%af"), 404),
        (request("/console"), 404),
        (request(STATUS, method="POST"), 405),
        (request(STATUS, method="TRACE"), 405),
        (request(f"{STATUS}?limit=1"), 400),
        (request(f"{STATUS}?{'x' * 4097}"), 414),
        (request(f"{STATUS}?{'x' * 9000}"), 414),
        (request(STATUS, *MANY), 431),
        (request(STATUS, f"X-Long: {'x' * 9000}"), 431),
        (request(STATUS, "Content-Length: 2097152", body=b"x"), 413),
        (request(STATUS, "Content-Length: nonsense"), 400),
        (request(STATUS, "Content-Length: 1", "Content-Length: 2"), 400),
        (request(STATUS, "Bad Header"), 400),
        (request(STATUS, "Accept: image/png"), 406),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"get / http/1.1\r\n\r\n", 400),
        (request("/api/v1/datasets/edge/views/landcover_aggregates"), 503),
    ],
)
def test_whatever_comes_is_answered_and_every_refusal_is_a_problem(api: Api, sent: bytes, status: int) -> None:
    got, headers, body = exchange(api, sent)
    assert got == status, body
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    if status >= 400:
        assert headers["content-type"] == "application/problem+json"
        problem = json.loads(body)
        assert problem["status"] == status and problem["detail"] and "Traceback" not in problem["detail"]
    if status == 503:
        assert int(headers["retry-after"]) > 0


def test_head_and_options_have_no_body_and_the_same_headers(api: Api) -> None:
    status, headers, body = exchange(api, request("/openapi.json", method="HEAD"))
    assert (status, body) == (200, b"")
    assert headers["etag"] == exchange(api, request("/openapi.json"))[1]["etag"]
    status, headers, body = exchange(api, request(STATUS, method="OPTIONS"))
    assert (status, body) == (200, b"") and set(headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_slow_clients_do_not_keep_others_waiting_and_are_ended(api: Api) -> None:
    slow = [socket.create_connection((LOOPBACK, api.settings.ports.api), timeout=30) for _ in range(40)]
    try:
        for wire in slow:
            wire.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        api.until("answered all the same", lambda: api.get("/healthz"), 25)
        began = time.monotonic()
        for wire in slow:
            assert wire.recv(1) == b""  # the server hung up
        assert time.monotonic() - began < 40
    finally:
        for wire in slow:
            wire.close()


def test_two_hundred_at_once_are_all_answered(api: Api) -> None:
    def ask(_: int) -> int:
        return exchange(api, request(STATUS), 60)[0]

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(ask, range(200))) == {200}


def test_every_request_is_a_line_of_json_in_the_log(api: Api) -> None:
    exchange(api, request("/healthz", "X-Request-ID: find-me-1"))
    api.until("its line is written", lambda: "find-me-1" in api.log.read_text("utf-8"))  # together with others
    lines = [json.loads(line) for line in api.log.read_text("utf-8").splitlines()]
    (found,) = (line for line in lines if line.get("request_id") == "find-me-1")
    assert (found["logger"], found["status"], found["path"]) == ("braid.access", 200, "/healthz")
    assert any(line["logger"] == "gunicorn.error" for line in lines)


def test_a_debugger_cannot_be_switched_on(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLASK_DEBUG", "FLASK_ENV", "WERKZEUG_DEBUG_PIN"):
        monkeypatch.setenv(name, "1")
    with running_api(stack, tmp_path, {"edge": landcover_as("edge")}) as api:
        api.until("it listens", lambda: api.get("/healthz"))
        assert exchange(api, request("/console"))[0] == 404
        assert exchange(api, request("/?__debugger__=yes&cmd=resource&f=debugger.js"))[2].find(b"Werkzeug") < 0


def test_requests_under_way_are_answered_when_it_is_told_to_stop(stack: Settings, tmp_path: Path) -> None:
    with running_api(stack, tmp_path, {"edge": landcover_as("edge")}) as api:
        api.until("it listens", lambda: api.get("/healthz"))
        with socket.create_connection((LOOPBACK, api.settings.ports.api), timeout=15) as wire:
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
            time.sleep(0.3)  # so that a thread of the worker holds the half request
            api.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            wire.sendall(b"\r\n")
            assert b" 200 OK" in wire.recv(65536)
        assert api.process.wait(20) == 0


# ---- beyond loopback -----------------------------------------------------------------------------------------------


def started(stack: Settings, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run `braid serve` in a home of its own until it ends."""
    (home / "run").mkdir(parents=True)
    record = {"asked": "free", "ports": stack.ports.as_dict()}
    (home / "run" / "ports.json").write_text(json.dumps(record), "utf-8")
    words = [str(stack.python), str(CHECKOUT / "src" / "serving" / "app.py"), *flags]
    return subprocess.run(
        words, env=names(BRAID_HOME=str(home)), capture_output=True, text=True, timeout=60, check=False
    )


def test_beyond_loopback_it_refuses_to_start_without_keys(stack: Settings, tmp_path: Path) -> None:
    done = started(stack, tmp_path / "home", "--listen", "0.0.0.0", "--behind-tls-proxy")  # noqa: S104
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "braid: --listen 0.0.0.0: expected at least one API key, got none; make one: braid key create NAME --scope read\n"
    )


def test_over_tls_and_beyond_loopback_a_key_is_asked_for(stack: Settings, tmp_path: Path) -> None:
    pair = [str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", pair[0], "-keyout", pair[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    keys = KeyFile(tmp_path / "home" / "keys" / "api.json")
    _, token = keys.create("a", "read", 1)
    flags = ("--listen", "0.0.0.0", "--cert", pair[0], "--cert-key", pair[1], "--rate", "5")  # noqa: S104
    with running_api(stack, tmp_path, {"edge": landcover_as("edge")}, flags) as api:
        url = f"https://{LOOPBACK}:{api.settings.ports.api}"
        trusting = ssl.create_default_context(cafile=pair[0])

        def ask(path: str, key: str = "") -> tuple[int, Any]:
            sent = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310
            try:
                with urllib.request.urlopen(sent, context=trusting, timeout=10) as answer:  # noqa: S310
                    return answer.status, answer.headers
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, refused.headers

        api.until("it listens", lambda: ask("/healthz")[0] == 200)
        status, headers = ask(STATUS, token)
        assert status == 200 and headers["Strict-Transport-Security"] == "max-age=31536000"
        assert ask(STATUS)[0] == 401
        assert {ask(STATUS, token)[0] for _ in range(40)} == {200, 429}
        api.until("their lines are written", lambda: api.log.read_text("utf-8").count(STATUS) >= 40)
        log = api.log.read_text("utf-8")
        arguments = [psutil.Process(api.process.pid).cmdline()]
        assert token not in log and token not in str(arguments)
