"""`braid verify`: an answer, a receipt or a whole dataset held against the log, by a second path."""

import json
import sys
import urllib.error
import urllib.request
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import typer

from braid.errors import ReceiptRefused, StoreUnavailable, UsageError
from cli.output import Json, progress, show, show_json

if TYPE_CHECKING:
    from braid.declaration import Declaration
    from braid.settings import Settings

TIMEOUT_S = 30.0


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(verify)


def verify(
    what: Annotated[
        str, typer.Argument(help="A receipt (braid1.…), - for receipts on stdin, the URL of an answer, or a dataset.")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Every dataset.")] = False,
    as_json: Json = False,
) -> None:
    """Recompute an answer, or all of a dataset, from the raw records and compare. Exits 1 when anything differs."""
    from braid.adapters.environment import load

    settings = load()
    if every == bool(what):
        raise UsageError("verify: expected a receipt, a URL, a dataset, or --all")
    if what == "-":
        equal = _many(settings, [line for line in sys.stdin.read().split() if line], as_json)
    elif every or not _claims(what):
        found = [_dataset(settings, name, as_json) for name in (_names(settings) if every else [what])]
        equal = all(found)  # every dataset is looked at, also after one that differs
    else:
        equal = _claim(settings, what, as_json)
    if not equal:
        raise typer.Exit(1)


def _claims(what: str) -> bool:
    return "://" in what or "." in what


def _names(settings: "Settings") -> list[str]:
    from braid.adapters.chosen import running

    return list(running(settings))


def _dataset(settings: "Settings", name: str, as_json: bool) -> bool:
    """Run and show every check of a dataset; return whether all are equal."""
    from verify.dataset import checks
    from verify.world import opened

    found = []
    with opened(settings, name) as world:
        for check in checks(world, progress):
            found.append(check)
            if not as_json:
                mark = "equal" if check.problem is None else "DIFFERENT"
                show(f"{mark:9}  {name}: {check.name}: {check.compared}: {check.counts} ({check.seconds:.1f} s)")
                if check.problem is not None:
                    show(f"           {check.problem}")
    equal = all(check.problem is None for check in found)
    if as_json:
        show_json({"dataset": name, "equal": equal, "checks": [asdict(check) for check in found]})
    return equal


def _claim(settings: "Settings", what: str, as_json: bool) -> bool:
    from braid.receipts import decode
    from verify.claims import Claim, check, shown
    from verify.world import opened

    token, rows = fetched(what) if "://" in what else (what, None)
    receipt = decode(token)
    progress(f"receipt: {shown(receipt)}")
    with opened(settings, receipt.dataset) as world:
        if rows is not None:
            rows = named(world.declaration, what, rows)
        (verdict,) = check(world, [Claim(receipt, rows)], progress)
    if as_json:
        show_json(verdict.facts)
    else:
        show(verdict.text)
    return verdict.equal


def _many(settings: "Settings", tokens: list[str], as_json: bool) -> bool:
    """Check receipts of any datasets, reading each dataset's records once; show what differs and how many are equal."""
    from braid.receipts import decode
    from verify.claims import Claim, check
    from verify.world import opened

    held: dict[str, dict[int, Claim]] = {}
    texts: dict[int, tuple[bool, str]] = {}
    for number, token in enumerate(tokens, start=1):
        try:
            receipt = decode(token)
            held.setdefault(receipt.dataset, {})[number] = Claim(receipt)
        except ReceiptRefused as error:
            texts[number] = (False, str(error))
    for dataset, claims in held.items():
        with opened(settings, dataset) as world:
            for number, verdict in zip(claims, check(world, list(claims.values()), progress), strict=True):
                texts[number] = (verdict.equal, verdict.text)
    wrong = {number: text for number, (equal, text) in sorted(texts.items()) if not equal}
    if as_json:
        show_json({"receipts": len(tokens), "equal": len(tokens) - len(wrong), "different": wrong})
    else:
        for number, text in wrong.items():
            show(f"receipt {number}: {text}")
        show(f"{len(tokens) - len(wrong):,} of {len(tokens):,} receipts are equal")
    return not wrong


def fetched(url: str) -> tuple[str, list[dict[str, Any]] | None]:
    """Return the receipt and the rows of an answer with its exact states (a page has them only if it was cut so).

    Raises
    ------
    ReceiptRefused
        The answer has none.
    """
    body, header = asked(url)
    meta = body.get("meta") if isinstance(body, dict) else None
    receipt = meta.get("receipt") if isinstance(meta, dict) else header
    if not receipt:
        raise ReceiptRefused(f"{url}: expected an answer of a view with a receipt, got one without")
    rows = body["data"] if isinstance(body, dict) else body
    return receipt, rows if all("state" in row for row in rows) else None


def asked(url: str, **more: str) -> tuple[Any, str | None]:
    """Return an answer as JSON, asked for with its exact states and with further parameters, and its receipt's header.

    Raises
    ------
    UsageError
        The address is not one of an answer of a view.
    StoreUnavailable
        Nobody answers there.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"expected an http address, got {url!r}")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if "cursor" not in {name for name, _ in query}:  # a page of a listing is asked for as it stands
        own = {"state": "1"} | more
        query = [(name, value) for name, value in query if name not in {"format", *own}] + list(own.items())
    address = urlunsplit(parts._replace(query=urlencode(query)))
    headers = {"Accept": "application/json"} | _key()
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - http or https
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return json.load(response), response.headers.get("X-Braid-Receipt")
    except urllib.error.HTTPError as error:
        why = f"{error.code}: {_detail(error)}"
        if error.code == HTTPStatus.UNAUTHORIZED:
            why += "; name a file that holds a key: BRAID_KEY_FILE=…"
        raise UsageError(f"{address}: expected an answer, got {why}") from error
    except (OSError, ValueError) as error:
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


def named(declaration: "Declaration", url: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows under the view's own names of columns: a declared path may have renamed them."""
    path = next((p for p in declaration.api if p.path == urlsplit(url).path), None)
    if path is None or not path.rename:
        return rows
    back = {new: old for old, new in path.rename.items()}
    return [{back.get(name, name): value for name, value in row.items()} for row in rows]


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error).get("detail"))
    except ValueError:
        return error.reason
