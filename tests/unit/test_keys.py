"""API keys: hashed on disk, told once, rotated without a restart; and the command that does it."""

import json
import stat
from pathlib import Path

import pytest

from braid.adapters.keys import KeyFile
from braid.errors import SettingsError, UsageError
from cli.main import main


@pytest.fixture
def held(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys" / "api.json")


def test_a_key_is_found_by_its_token_and_by_nothing_else(held: KeyFile) -> None:
    key, token = held.create("grafana", "read", 5)
    other, _ = held.create("ops", "admin", 6)
    assert held.find(token) == key and (key.scope, key.created_us) == ("read", 5)
    for wrong in (
        "",
        token[:-1],
        token + "x",
        token.upper(),
        token.replace(key.id, other.id),
        f"braid_{key.id}_",
        "braid__",
        "_" * 99,
    ):
        assert held.find(wrong) is None


def test_neither_file_nor_value_holds_the_secret_and_nobody_else_may_read_it(held: KeyFile) -> None:
    key, token = held.create("grafana", "read", 5)
    text = held.path.read_text("utf-8")
    assert token not in text and token.removeprefix(f"braid_{key.id}_") not in text + repr(key)
    assert stat.S_IMODE(held.path.stat().st_mode) == 0o600


def test_another_process_s_change_is_seen_at_once(held: KeyFile) -> None:
    _, first = held.create("a", "read", 1)
    reader = KeyFile(held.path)
    assert reader.find(first) is not None
    key, second = held.create("b", "read", 2)
    assert reader.find(second) == key
    held.revoke(key.id, 3)
    assert reader.find(second) is None and reader.find(first) is not None
    assert [k.name for k in reader.valid()] == ["a"]


def test_revoking_again_changes_nothing_and_of_no_key_is_an_error(held: KeyFile) -> None:
    key, _ = held.create("a", "read", 1)
    assert held.revoke(key.id, 7) == held.revoke(key.id, 8)
    with pytest.raises(UsageError, match=f"key: expected one of {key.id}, got 'nope'; see `braid key list`"):
        held.revoke("nope", 9)


def test_a_file_that_is_not_one_is_an_error_and_never_no_keys(held: KeyFile) -> None:
    held.create("a", "read", 1)
    for wrong in ("", "{}", '{"keys": [{"id": "x"}]}', "\x00"):
        held.path.write_text(wrong, "utf-8")
        with pytest.raises(SettingsError, match="expected the API keys"):
            KeyFile(held.path).find("braid_x_y")


def test_the_command_makes_lists_and_revokes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAID_HOME", str(tmp_path))
    assert main(["key", "create", "grafana"]) == 0
    told = capsys.readouterr()
    token = told.out.strip()
    assert token.startswith("braid_") and token not in told.err
    assert main(["key", "list", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["name"], line["scope"], line["revoked"]) == ("grafana", "read", None) and token not in str(line)
    assert main(["key", "revoke", line["id"]]) == 0
    assert main(["key", "list"]) == 0
    assert "grafana" in capsys.readouterr().out
    assert KeyFile(tmp_path / "keys" / "api.json").find(token) is None
    assert main(["key", "create", "x", "--scope", "root"]) == 2
    assert capsys.readouterr().err == "braid: --scope: expected one of read, admin, got 'root'\n"
    assert main(["key", "revoke", "nope"]) == 2
