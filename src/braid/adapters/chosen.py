"""Which of the declared datasets run here: those that always do, and those that were started by name in this home.

Each dataset costs a Spark driver of its own, so a checkout may declare more than a machine should run. What was started
by name is remembered in BRAID_HOME: every later command speaks of the same datasets, and `up` starts them again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence

from braid.adapters import durable
from braid.declaration import Declaration
from braid.declaration_reader import load_all
from braid.errors import UnknownDataset
from braid.settings import Settings

FILE = "datasets.json"


def running(settings: Settings) -> dict[str, Declaration]:
    """Return the declarations of the datasets that run in this home, by name.

    Raises
    ------
    DeclarationError
        A file under datasets/ is none.
    """
    named = _named(settings)
    return {n: d for n, d in load_all(settings.root / "datasets").items() if not d.by_name or n in named}


def remember(settings: Settings, names: Sequence[str]) -> None:
    """Let datasets run in this home from now on, beside those that do.

    Raises
    ------
    UnknownDataset
        One is not declared; the text lists those that are.
    """
    declared = load_all(settings.root / "datasets")
    for name in names:
        if name not in declared:
            raise UnknownDataset(
                f"{settings.root / 'datasets'}: expected one of the datasets {', '.join(declared) or 'none'}, got {name!r}"
            )
    held = _named(settings)
    wanted = sorted({*held, *(n for n in names if declared[n].by_name)})
    if wanted != sorted(held):
        settings.home.mkdir(parents=True, exist_ok=True)
        fresh = settings.home / f"{FILE}.{os.getpid()}"
        fresh.write_text(json.dumps(wanted), "utf-8")
        durable.sync(fresh)
        fresh.replace(settings.home / FILE)


def _named(settings: Settings) -> Collection[str]:
    try:
        found = json.loads((settings.home / FILE).read_text("utf-8"))
    except (OSError, ValueError):  # an unusable home is refused, with its reason, by what needs it
        return ()
    return frozenset(map(str, found)) if isinstance(found, list) else ()
