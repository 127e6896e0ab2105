"""What the commands about one dataset work on: its declaration in force and its stores, opened and closed again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from braid.adapters.cassandra import Cassandra, Stores
    from braid.declaration import Declaration
    from braid.settings import Settings


@dataclass(frozen=True, slots=True)
class Held:
    """One dataset as its ledger has it.

    Attributes
    ----------
    declaration : in force, which the file need not be
    """

    settings: "Settings"
    declaration: "Declaration"
    stores: "Stores"


@contextmanager
def created(dataset: str) -> Iterator[tuple["Settings", "Declaration", "Cassandra"]]:
    """Open Cassandra for a dataset that has its ledger there; the declaration is that of its file.

    Raises
    ------
    UnknownDataset
        Nothing of that name is declared.
    StoreUnavailable, LedgerError
        Cassandra does not answer, or the dataset has not been created.
    """
    from braid.adapters import cassandra
    from braid.adapters.environment import load
    from braid.declaration_reader import load_all
    from braid.errors import LedgerError, UnknownDataset

    settings = load()
    declared = load_all(settings.root / "datasets")
    if dataset not in declared:
        raise UnknownDataset(f"expected a dataset, one of {', '.join(declared)}, got {dataset!r}")
    with cassandra.connect(settings) as store:
        if not store.knows(dataset):
            raise LedgerError(f"{dataset}: expected its ledger in Cassandra, got none; create the dataset: braid up")
        yield settings, declared[dataset], store


@contextmanager
def held(dataset: str) -> Iterator[Held]:
    """Open the stores of a dataset; raises what `created` does."""
    from braid.definitions import in_force

    with created(dataset) as (settings, declared, store):
        ledger = store.stores(declared).ledger
        declaration = in_force(ledger, ledger.head())
        yield Held(settings, declaration, store.stores(declaration))
