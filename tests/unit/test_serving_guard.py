"""Who is let in, how often, and under which name; what is logged of it; and what the server refuses to start without."""

import base64
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braid.adapters.keys import KeyFile
from braid.errors import UsageError
from serving import launch
from serving.guard import OPEN_RATE_PER_S, Access
from serving.logs import JsonLines
from serving.rates import MOST_CLIENTS, Buckets
from tests.unit.serving_world import Monotonic, World, client_of, ride, settings_of

ROOT = Path(__file__).parents[2]
STATUS = "/api/v1/status"


def a_client(access: Access) -> Any:
    world = World().genesis()
    world.commit([ride(1, "Bern", 100)])
    return client_of(world, access=access)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "api.json")


# ---- keys ----------------------------------------------------------------------------------------------------------


def test_without_a_valid_key_only_the_probes_answer(keys: KeyFile) -> None:
    _, token = keys.create("a", "read", 1)
    client = a_client(Access(keys))
    for path in (STATUS, "/", "/docs", "/openapi.json", "/static/app.js", "/metrics", "/api/rides/newest", "/nothing"):
        for headers in (
            {},
            bearer("braid_00000000_x"),
            bearer(token[:-1]),
            {"Authorization": "Bearer"},
            {"Authorization": "x"},
        ):
            refused = client.get(path, headers=headers)
            assert (refused.status_code, refused.mimetype) == (401, "application/problem+json"), path
            assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="braid", Basic')
            assert "Content-Security-Policy" in refused.headers
    assert client.get(f"{STATUS}?key={token}").status_code == 401
    assert client.get("/healthz").status_code == 200 and client.get("/readyz").status_code == 200


def test_a_key_lets_in_as_a_bearer_s_and_as_a_browser_s_password(keys: KeyFile) -> None:
    _, token = keys.create("a", "read", 1)
    client = a_client(Access(keys))
    assert client.get(STATUS, headers=bearer(token)).status_code == 200
    password = base64.b64encode(f"anybody:{token}".encode()).decode()
    assert client.get(STATUS, headers={"Authorization": f"Basic {password}"}).status_code == 200


def test_a_scope_allows_reading_or_everything(keys: KeyFile) -> None:
    _, read = keys.create("a", "read", 1)
    _, admin = keys.create("b", "admin", 1)
    client = a_client(Access(keys))
    for method in ("put", "post", "delete", "patch"):
        refused = getattr(client, method)(STATUS, headers=bearer(read))
        assert refused.status_code == 403
        assert refused.json["detail"] == f"expected a key of scope admin for {method.upper()}, got one of scope read"
        assert getattr(client, method)(STATUS, headers=bearer(admin)).status_code == 405


def test_keys_are_rotated_without_a_restart(keys: KeyFile) -> None:
    first, old = keys.create("a", "read", 1)
    client = a_client(Access(KeyFile(keys.path)))
    _, new = keys.create("a", "read", 2)
    assert [client.get(STATUS, headers=bearer(t)).status_code for t in (old, new)] == [200, 200]
    keys.revoke(first.id, 3)
    assert [client.get(STATUS, headers=bearer(t)).status_code for t in (old, new)] == [401, 200]


def test_a_key_file_that_cannot_be_read_lets_nobody_in(keys: KeyFile) -> None:
    _, token = keys.create("a", "read", 1)
    keys.path.write_text("{", "utf-8")
    client = a_client(Access(KeyFile(keys.path)))
    assert client.get(STATUS, headers=bearer(token)).status_code == 503
    keys.path.unlink()
    assert client.get(STATUS, headers=bearer(token)).status_code == 401


# ---- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:5000", 200), ("127.0.0.1:5000", 200), ("[::1]:5000", 200), ("10.0.0.7", 200), ("braid.localhost", 200),
        ("evil.example", 421), ("localhost.evil.example:5000", 421), ("127.0.0.1.evil.example", 421),
    ],
)  # fmt: skip
def test_without_keys_no_other_name_leads_here(host: str, status: int, keys: KeyFile) -> None:
    """Else a web page could point a name of its own at this server and read everything through the browser."""
    assert a_client(Access()).get(STATUS, headers={"Host": host}).status_code == status
    _, token = keys.create("a", "read", 1)
    assert a_client(Access(keys)).get(STATUS, headers={"Host": host} | bearer(token)).status_code == 200


# ---- rates ---------------------------------------------------------------------------------------------------------


def test_one_request_too_many_is_429_and_says_when_to_come_back() -> None:
    now = Monotonic()
    client = a_client(Access(rate_per_s=2, monotonic=now))
    assert [client.get(STATUS).status_code for _ in range(5)] == [200] * 4 + [429]
    refused = client.get(STATUS, headers={"X-Forwarded-For": "10.1.2.3"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert refused.json["detail"] == "expected at most 2 requests a second, got more; come back in 1 s"
    now.at_s += 0.5
    allowed = client.get(STATUS)
    assert (allowed.status_code, allowed.headers["RateLimit-Limit"], allowed.headers["RateLimit-Remaining"]) == (
        200,
        "4",
        "0",
    )
    assert client.get(STATUS, environ_base={"REMOTE_ADDR": "10.1.2.3"}).status_code == 200


def test_each_key_has_its_own_bucket_and_guesses_share_that_of_their_address(keys: KeyFile) -> None:
    now = Monotonic()
    tokens = [keys.create(name, "read", 1)[1] for name in "ab"]
    client = a_client(Access(keys, 1, now))
    assert [client.get(STATUS, headers=bearer(tokens[0])).status_code for _ in range(3)] == [200, 200, 429]
    assert client.get(STATUS, headers=bearer(tokens[1])).status_code == 200
    assert [client.get(STATUS, headers=bearer(f"braid_{i}_x")).status_code for i in range(3)] == [401, 401, 429]


def test_a_bucket_fills_up_to_its_burst_and_quiet_clients_are_forgotten() -> None:
    now = Monotonic()
    buckets = Buckets(10, 20, now)
    assert sum(buckets.take("a").allowed for _ in range(50)) == 20
    now.at_s += 1
    assert sum(buckets.take("a").allowed for _ in range(50)) == 10
    now.at_s += 3600
    assert sum(buckets.take("a").allowed for _ in range(50)) == 20
    for i in range(MOST_CLIENTS + 5):
        buckets.take(str(i))
    assert len(buckets._held) == MOST_CLIENTS


# ---- logs ----------------------------------------------------------------------------------------------------------


def test_a_request_is_one_line_of_json_with_its_id_and_without_its_key(
    keys: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    key, token = keys.create("a", "read", 1)
    client = a_client(Access(keys))
    with caplog.at_level(logging.INFO, "braid.access"):
        client.get(f"{STATUS}?x=%22%0a", headers=bearer(token) | {"X-Request-ID": "abc-1"})
    (record,) = (r for r in caplog.records if r.name == "braid.access")
    text = JsonLines().format(record)
    line = json.loads(text)
    assert (line["request_id"], line["client"], line["status"]) == ("abc-1", f"key {key.id}", 400)
    assert (line["method"], line["path"], line["query"], line["level"]) == ("GET", STATUS, "x=%22%0a", "info")
    assert line["at"].endswith("Z") and line["ms"] >= 0
    assert "\n" not in text and token not in text


def test_an_exception_is_in_its_line_and_its_traceback_where_nobody_expected_it() -> None:
    with pytest.raises(RuntimeError) as raised:
        raise RuntimeError("why")
    info = (raised.type, raised.value, raised.tb)
    told = {}
    for level in (logging.ERROR, logging.WARNING):
        record = logging.LogRecord("braid.serving", level, "", 0, "what %s", ("happened",), info)
        line = json.loads(JsonLines().format(record))
        assert line["message"] == "what happened"
        told[level] = line["exception"]
    assert told[logging.ERROR].startswith("Traceback") and told[logging.ERROR].endswith("RuntimeError: why")
    assert told[logging.WARNING] == "RuntimeError('why')"


# ---- starting ------------------------------------------------------------------------------------------------------


def command(tmp_path: Path, *flags: str, key: bool = False) -> list[str]:
    settings = replace(settings_of(ROOT), home=tmp_path)
    if key:
        KeyFile(settings.keys).create("a", "read", 1)
    return launch.command(settings, launch._parser().parse_args(flags))


def test_beyond_loopback_it_wants_tls_and_a_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--listen 0\.0\.0\.0: expected --cert and --cert-key, or --behind-tls-proxy"):
        command(tmp_path, "--listen", "0.0.0.0")  # noqa: S104
    with pytest.raises(
        UsageError, match=r"--listen ::: expected at least one API key, got none; make one: braid key create"
    ):
        command(tmp_path, "--listen", "::", "--behind-tls-proxy")
    words = command(tmp_path, "--listen", "::", "--behind-tls-proxy", key=True)
    assert words[-1] == "serving.server:app(True, 100.0)" and "[::]:5000" in words and "[::]:8000" in words


def test_a_revoked_key_is_none(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys" / "api.json")
    keys.revoke(keys.create("a", "read", 1)[0].id, 2)
    with pytest.raises(UsageError, match="--require-keys: expected at least one API key, got none"):
        command(tmp_path, "--require-keys")


def test_on_loopback_it_starts_without_and_may_ask_for_keys_all_the_same(tmp_path: Path) -> None:
    assert command(tmp_path)[-1] == f"serving.server:app(False, {OPEN_RATE_PER_S})"
    assert command(tmp_path, "--listen", "localhost", "--rate", "7")[-1] == "serving.server:app(False, 7.0)"
    assert command(tmp_path, "--require-keys", key=True)[-1] == "serving.server:app(True, 100.0)"


@pytest.mark.parametrize(
    ("flags", "wrong"),
    [
        (
            ["--listen", "braid.example"],
            "--listen: expected an address such as 127.0.0.1 or 0.0.0.0, got 'braid.example'",
        ),
        (["--cert", "/nothing"], "--cert, --cert-key: expected both or neither, got one"),
        (["--cert", "/nothing", "--cert-key", "/nothing"], "--cert, --cert-key: expected a file, got /nothing"),
    ],
)
def test_a_wrong_flag_is_named(tmp_path: Path, flags: list[str], wrong: str) -> None:
    with pytest.raises(UsageError) as error:
        command(tmp_path, *flags)
    assert str(error.value) == wrong


def test_a_certificate_is_handed_on(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    flags = ("--listen", "10.0.0.7", "--cert", str(tmp_path / "c.pem"), "--cert-key", str(tmp_path / "k.pem"))
    words = command(tmp_path, *flags, key=True)
    assert words[words.index("--certfile") + 1] == str(tmp_path / "c.pem") and "10.0.0.7:5000" in words


def test_a_record_is_one_line_for_every_reader_of_logs() -> None:
    record = logging.LogRecord("braid.access", logging.INFO, "x.py", 1, "GET /a\u0085b\u2028c\nd", None, None)
    text = JsonLines().format(record)
    assert len(text.splitlines()) == 1
    assert json.loads(text)["message"] == "GET /a\u0085b\u2028c\nd"
