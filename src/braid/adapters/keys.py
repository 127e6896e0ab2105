"""API keys: a file that holds a hash of each and never the key; read again whenever it changes.

A key is `braid_<id>_<secret>`: 256 random bits, so a plain sha256 keeps it as safe as a slow hash would. The id says
which line of the file to compare with, in constant time. Whoever revokes or adds a key writes the whole file aside and
renames it; a server notices by its inode and time, so keys are rotated without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from braid.adapters import lock
from braid.errors import SettingsError, UsageError

Scope = Literal["read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "braid"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without its secret.

    Attributes
    ----------
    scope : `read`: whatever changes nothing; `admin`: everything
    sha256 : of the whole key, in hex
    created_us, revoked_us : microseconds UTC; 0 when it is not revoked
    """

    id: str
    name: str
    scope: Scope
    sha256: str
    created_us: int
    revoked_us: int = 0

    def allows(self, scope: Scope) -> bool:
        """Return whether the key may do what asks for a scope."""
        return self.scope == "admin" or scope == "read"


class KeyFile:
    """The keys of one installation; safe to share between threads.

    Parameters
    ----------
    path : Path, made (0600) with the first key
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def keys(self) -> dict[str, Key]:
        """Return every key by id, revoked ones too.

        Raises
        ------
        SettingsError
            The file is there and cannot be read.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unreadable(error) from error
        now = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if now != self._seen:
            try:
                lines = json.loads(self.path.read_text("utf-8"))["keys"]
                self._keys = {line["id"]: Key(**line) for line in lines}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise self._unreadable(error) from error
            self._seen = now
        return self._keys

    def valid(self) -> Sequence[Key]:
        """Return the keys that are not revoked."""
        return [key for key in self.keys().values() if not key.revoked_us]

    def find(self, token: str) -> Key | None:
        """Return the key that a token is, None when it is none, or a revoked one."""
        held = self.keys().get(token.split("_")[1] if token.count("_") >= 2 else "")
        expected = held.sha256 if held else _hash("")
        same = hmac.compare_digest(_hash(token), expected)
        return held if held and same and not held.revoked_us else None

    def create(self, name: str, scope: Scope, now_us: int) -> tuple[Key, str]:
        """Add a key; return it and its token, which is told this once."""
        if scope not in SCOPES:
            raise UsageError(f"--scope: expected one of {', '.join(SCOPES)}, got {scope!r}")
        made = secrets.token_hex(4)
        token = f"{PREFIX}_{made}_{secrets.token_urlsafe(32)}"
        key = Key(made, name, scope, _hash(token), now_us)
        with lock.exclusive(self._lock(), "braid key"):
            self._write([*self.keys().values(), key])
        return key, token

    def revoke(self, key_id: str, now_us: int) -> Key:
        """Let a key be valid no more; return it. Revoking it again changes nothing. Raises UsageError."""
        with lock.exclusive(self._lock(), "braid key"):
            held = self.keys()
            if key_id not in held:
                known = ", ".join(held) or "none: there are no keys"
                raise UsageError(f"key: expected one of {known}, got {key_id!r}; see `braid key list`")
            key = held[key_id]
            if not key.revoked_us:
                key = replace(key, revoked_us=now_us)
                self._write((held | {key_id: key}).values())
        return key

    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")

    def _write(self, keys: Iterable[Key]) -> None:
        lines = [asdict(key) for key in keys]
        aside = self.path.with_suffix(".new")
        aside.unlink(missing_ok=True)
        # nobody else may read it, from its first byte on
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"keys": lines}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)

    def _unreadable(self, error: Exception) -> SettingsError:
        return SettingsError(
            f"{self.path}: expected the API keys, got {error!r}; restore it, or remove it and make new keys"
        )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
