"""Asking a running API: one GET with the key that the settings name, and what its refusal means for the one who asked."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from braid.errors import StoreUnavailable, UsageError

TIMEOUT_S = 30.0
# what passes by itself: too many questions, no answer yet, a proxy without a server behind it
PASSING = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. `body` is None when it is the one with the ETag that was sent along."""

    body: Any
    etag: str | None = None
    receipt: str | None = None


def get(address: str, etag: str | None = None) -> Got:
    """Return an answer as JSON.

    Parameters
    ----------
    address : http or https
    etag : of the answer that is held already

    Raises
    ------
    UsageError
        It is refused: another question, or a key, would be answered.
    StoreUnavailable
        Nobody answers there, or not now.
    """
    headers = {"Accept": "application/json"} | ({"If-None-Match": etag} if etag else {}) | _key()
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - http or https
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            found = response.headers
            return Got(json.load(response), found.get("ETag"), found.get("X-Braid-Receipt"))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.NOT_MODIFIED:
                return Got(None, etag)
            why = f"{error.code}: {_detail(error)}"
        if error.code in PASSING:
            raise StoreUnavailable(f"{address}: expected an answer, got {why}") from error
        if error.code == HTTPStatus.UNAUTHORIZED:
            why += "; name a file that holds a key: BRAID_KEY_FILE=…"
        raise UsageError(f"{address}: expected an answer, got {why}") from error
    except (OSError, HTTPException, ValueError) as error:  # also one that dies in the middle of its answer
        raise StoreUnavailable(f"{address}: expected an answer, got {error}; is the API up? `braid status`") from error


def _key() -> dict[str, str]:
    """Return the header of the key that the settings name; it is in a file, as argv and the environment are for all to see."""
    from braid.adapters.environment import load

    path = load().key_file
    if path is None:
        return {}
    try:
        return {"Authorization": f"Bearer {path.read_text('utf-8').strip()}"}
    except (OSError, ValueError) as error:
        raise UsageError(f"BRAID_KEY_FILE: expected a file that holds an API key, got {path}: {error}") from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error).get("detail"))
    except (AttributeError, ValueError):  # a proxy's own page
        return str(error.reason)
