"""`braid watch`: the rows of a view, then each one again when it changes, as the API answers.

An answer is a function of its `as_of`, and its ETag says which one it is. So the same question is asked again and again
with the ETag of the last answer: most often nothing has changed, and the API says just that (304). Of an answer that is
another one, the rows that differ are what happened; between two looks a row may have changed more than once.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

import typer

from braid.errors import StoreUnavailable, UsageError
from cli.output import progress, show

if TYPE_CHECKING:
    from cli.api import Got

Row: TypeAlias = dict[str, Any]
Get: TypeAlias = "Callable[[str, str | None], Got]"

ROWS = 1_000  # of a view that has more, the newest
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_BESIDE = frozenset({"window_start", "window_end", "n"})


@dataclass(frozen=True, slots=True)
class Question:
    """What is watched.

    Attributes
    ----------
    api : address without a path
    view : empty for the first declared one
    keys : (column, value) pairs; a column may stand in several
    limit : at most so many rows, the newest
    """

    api: str
    dataset: str
    view: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    limit: int = ROWS


@dataclass(frozen=True, slots=True)
class Change:
    """A row, and what it was before; None for one that was not there."""

    row: Row
    before: Row | None


@dataclass(frozen=True, slots=True)
class Look:
    """An answer that differs from the one before: what it covers, and which rows are others."""

    meta: Mapping[str, Any]
    by: tuple[str, ...]
    changes: tuple[Change, ...]
    first: bool = False


@dataclass(frozen=True, slots=True)
class Away:
    """The API does not answer any more, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Back:
    """The API answers again."""


@dataclass
class _Watched:
    """What was answered last."""

    address: str
    by: tuple[str, ...]
    definition: str
    etag: str | None = None
    complete: bool | None = None
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(watch)


def watch(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    view: Annotated[str, typer.Argument(help="The view; by default the first that is declared.")] = "",
    key: Annotated[list[str] | None, typer.Option(help="Only rows of this key: column=value. May be repeated.")] = None,
    every: Annotated[str, typer.Option(help="How often to ask: 500ms, 1s, 1m.")] = "1s",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many rows, the newest.")] = ROWS,
    api: Annotated[str, typer.Option(help="Another API than this machine's: https://host:port.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for every changed row.")] = False,
) -> None:
    """Print the rows of a view, then each one again when it changes. Ctrl-C ends it."""
    from braid.adapters.environment import load
    from braid.settings import LOOPBACK
    from cli.api import get

    settings, wait_s = load(), seconds(every)
    question = Question(address(api, f"http://{LOOPBACK}:{settings.ports.api}"), dataset, view, keys(key or []), limit)
    for seen in looks(question, get, lambda: time.sleep(wait_s)):
        match seen:
            case Look():
                if seen.first and seen.meta["of_rows"] > seen.meta["rows"]:
                    progress(f"the newest {seen.meta['rows']:,} of {seen.meta['of_rows']:,} rows; more: --limit")
                for line in (json_lines if as_json else lines)(seen):
                    if as_json:
                        print(line, flush=True)  # noqa: T201  # this is what a script reads
                    else:
                        show(line)
            case Away():
                progress(f"{seen.why}; asking again every {every}")
            case Back():
                progress(f"{question.api} answers again")


def looks(question: Question, get: Get, pause: Callable[[], None]) -> Iterator[Look | Away | Back]:
    """Yield what changes, for ever.

    Parameters
    ----------
    get : asks an address, with the ETag of the answer that is held
    pause : called between two questions

    Raises
    ------
    UsageError
        There is no such dataset, view or key, or the API wants a key.
    StoreUnavailable
        Nobody answers the first question; later, that is waited for.
    """
    watched, answered, away = _begun(question, get), False, False
    while True:
        try:
            got = get(watched.address, watched.etag)
            if got.body is not None and got.body["meta"]["definition"] != watched.definition:
                # other columns, perhaps: nothing can be compared
                watched = replace(_begun(question, get), definition=got.body["meta"]["definition"])
                continue
        except StoreUnavailable as error:
            if not answered:
                raise
            if not away:
                yield Away(str(error))
            away = True
        else:
            if away:
                yield Back()
            answered, away = True, False
            if got.body is not None and (look := _look(watched, got)) is not None:
                yield look
        pause()


def _begun(question: Question, get: Get) -> _Watched:
    """Return what is to be asked, out of what the API says of the dataset."""
    base = f"{question.api}/api/v1/datasets/{quote(question.dataset, safe='')}"
    told = get(base, None).body["data"]
    views = {one["view"]: one for one in told["views"]}
    name = question.view or next(iter(views))
    if name not in views:
        raise UsageError(f"watch: expected a view of {question.dataset}, one of {', '.join(views)}, got {name!r}")
    filters: Mapping[str, str] = views[name]["filters"]
    for column, _ in question.keys:
        if column not in filters:
            raise UsageError(f"--key: expected a key of {name}, one of {', '.join(filters)}, got {column!r}")
    asked = [(filters[column], value) for column, value in question.keys]
    asked += [("order", "desc"), ("limit", str(question.limit))]
    address = f"{question.api}{views[name]['url']}?{urlencode(asked)}"
    return _Watched(address, tuple(views[name]["by"]), told["definition"])


def _look(watched: _Watched, got: "Got") -> Look | None:
    """Return what differs from the answer before; None when neither a row nor the completeness does."""
    meta, first = got.body["meta"], watched.complete is None
    rows = {identity(row, watched.by): row for row in reversed(got.body["data"])}
    changed = changes(watched.rows, rows)
    same = not changed and meta["complete"] == watched.complete
    watched.etag, watched.complete, watched.rows = got.etag, meta["complete"], rows
    return None if same else Look(meta, watched.by, changed, first)


def identity(row: Row, by: Sequence[str]) -> tuple[Any, ...]:
    """Return what makes a row this one: its window and its key."""
    return (row.get("window_start"), *(row[column] for column in by))


def changes(before: Mapping[tuple[Any, ...], Row], after: Mapping[tuple[Any, ...], Row]) -> tuple[Change, ...]:
    """Return the rows that are new or differ, in the order of `after`.

    Examples
    --------
    >>> changes({("a",): {"n": 1}, ("b",): {"n": 2}}, {("b",): {"n": 3}, ("a",): {"n": 1}, ("c",): {"n": 1}})
    (Change(row={'n': 3}, before={'n': 2}), Change(row={'n': 1}, before=None))
    """
    return tuple(Change(row, before.get(place)) for place, row in after.items() if before.get(place) != row)


# ---- words ---------------------------------------------------------------------------------------------------------


def lines(look: Look) -> list[str]:
    """Return a look as a person reads it: what it covers, then a line for every changed row."""
    return [_covers(look.meta), *(_line(change, look.by) for change in look.changes)]


def json_lines(look: Look) -> list[str]:
    """Return a look as lines of JSON, one for every changed row; without any, one that says what is missing."""
    covers = {name: look.meta[name] for name in ("as_of", "complete", "missing")}
    found: list[dict[str, Any]] = [{"row": c.row, "before": c.before} for c in look.changes]
    return [json.dumps(one | covers) for one in found or [{"row": None, "before": None}]]


def _covers(meta: Mapping[str, Any]) -> str:
    as_of, layers = meta["as_of"], meta["layers"]
    until = layers["speed_until"] or layers["batch_until"]
    missing = ", ".join(dict.fromkeys(one["what"] for one in meta["missing"]))
    state = "complete" if meta["complete"] else f"not complete: {missing}"
    return f"as of generation {as_of['generation']}, seq {as_of['seq']}, {until}: {state}"


def _line(change: Change, by: Sequence[str]) -> str:
    row, before = change.row, change.before
    numbers = (f"{name} {_shown(row[name])}" for name in row if name not in _BESIDE and name not in by)
    more = f" ({row['n'] - before['n']:+,})" if before is not None else ""
    return "  ".join(
        [row.get("window_start", "all time"), *(str(row[c]) for c in by), *numbers, f"n {row['n']:,}{more}"]
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- what is asked for ---------------------------------------------------------------------------------------------


def address(given: str, default: str) -> str:
    """Return where the API is, without a path.

    Examples
    --------
    >>> address("https://braid.example.org:5000/", ""), address("", "http://127.0.0.1:5000")
    ('https://braid.example.org:5000', 'http://127.0.0.1:5000')
    """
    parts = urlsplit(given or default)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/") or parts.query:
        raise UsageError(f"--api: expected an address such as https://host:5000, got {given!r}")
    return f"{parts.scheme}://{parts.netloc}"


def keys(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return `column=value` words as pairs.

    Examples
    --------
    >>> keys(["city=Bern", "note=a=b"])
    (('city', 'Bern'), ('note', 'a=b'))
    """
    found = [word.partition("=") for word in words]
    for (column, sign, _), word in zip(found, words, strict=True):
        if not (column and sign):
            raise UsageError(f"--key: expected column=value, got {word!r}")
    return tuple((column, value) for column, _, value in found)


def seconds(text: str) -> float:
    """Return a duration such as `500ms`, `1s` or `1m` in seconds.

    Examples
    --------
    >>> seconds("500ms"), seconds("1.5s"), seconds("2m")
    (0.5, 1.5, 120.0)
    """
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m)", text)
    if not found or float(found[1]) == 0:
        raise UsageError(f"--every: expected a duration such as 500ms, 1s or 1m, got {text!r}")
    return float(found[1]) * _UNITS_S[found[2]]
