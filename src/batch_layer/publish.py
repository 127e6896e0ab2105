"""Publication: a generation becomes the one that is served, by one compare-and-set.

Everything before that step is written where nobody looks: files under a number that was never used, partitions that
no name selects. Everything after it can be done again by anybody (`repair`): the plain names in Hive, and the removal
of what is no longer kept. So a run that is killed anywhere leaves the old generation or the new one, whole.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from batch_layer.recompute import Recomputed
from braid import change
from braid.adapters.files import FileGenerations, Manifest, Publication
from braid.declaration import Declaration
from braid.generations import Audited, audit_text
from braid.ledger import Current, LedgerRow
from braid.ports import Catalogue, Clock, Ledger

KEPT = 3  # generations: the served one and the two before it


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a generation goes, and who decides that it is served."""

    files: FileGenerations
    catalogue: Catalogue
    ledger: Ledger
    clock: Clock


@dataclass(frozen=True, slots=True)
class Built:
    """What is to be published: the views as of a ledger row, the cuts they were computed from, their audit.

    `base` is what the ledger's running sums lack of the declaration's own counts (`generations.base_of`).
    """

    head: LedgerRow
    cuts: tuple[str, ...]
    result: Recomputed
    audited: Audited
    base: Mapping[str, int] = field(default_factory=dict)


def steps(stores: Stores, declaration: Declaration, built: Built, served: Current) -> Generator[str, None, Current]:
    """Publish a generation, yielding the name of each step when it is done; return the new `current`.

    Parameters
    ----------
    served : Current, as it was when the run began: if it is another one by now, nothing is published

    Raises
    ------
    LostRace
        Another run published first.
    """
    gen = 1 + max(numbers(stores, declaration), default=0)
    gen = max(gen, served.gen + 1)
    head, specs = built.head, {v.name: v for v in declaration.views}
    new = Manifest(declaration.dataset, gen, served.gen, head.seq, head.end, declaration.hash, built.cuts, {})
    write = stores.files.add if built.result.added else stores.files.write
    made = write(new, specs, built.result.states)
    yield "written"
    if change.pending(head, served):  # tables of the same names may be of another shape
        for spec in declaration.views:
            stores.catalogue.reshape(spec)
    for spec in declaration.views:
        _register(stores, declaration, made, spec.name)
        yield "partition_added"
    audit = audit_text({name: view.sums for name, view in made.views.items()}, built.audited, built.base)
    current = Current(gen, head.seq, head.end, declaration.hash, audit, stores.clock.now_us())
    stores.files.write_publication(Publication(current, served.gen, built.result.records))
    stores.ledger.publish(current, served.gen)
    yield "published"
    repair(stores, declaration, current)
    yield "served"
    tidy(stores, declaration, current)
    yield "tidied"
    return current


def repair(stores: Stores, declaration: Declaration, current: Current) -> list[str]:
    """Bring Hive up to the served generation; return the views whose plain name selected another one.

    A run that was killed behind the compare-and-set left them so.
    """
    if current.gen == 0 or current.definition != declaration.hash:
        return []
    made = stores.files.manifest(current.gen)
    late = [spec for spec in declaration.views if stores.catalogue.served(spec) != current.gen]
    for spec in late:
        _register(stores, declaration, made, spec.name)
        stores.catalogue.serve(current.gen, current.cut_seq, spec)
    return [spec.name for spec in late]


def tidy(stores: Stores, declaration: Declaration, current: Current) -> set[int]:
    """Remove the generations before the last three that were served, and those that never were; return them.

    Parts that a kept generation points to stay where they lie.
    """
    kept = stores.files.chain(current.gen, KEPT)
    gone = {gen for gen in numbers(stores, declaration) if gen < current.gen and gen not in kept}
    for spec in declaration.views:
        stores.catalogue.forget(spec, gone & stores.catalogue.numbers(spec))
    stores.files.remove(gone, kept)
    return gone


def numbers(stores: Stores, declaration: Declaration) -> set[int]:
    """Return every generation number that a file or a partition carries, whoever left it there."""
    registered = [stores.catalogue.numbers(spec) for spec in declaration.views]
    return stores.files.numbers().union(*registered)


def register(stores: Stores, declaration: Declaration, made: Manifest) -> None:
    """Register the parts of a generation's views in the catalogue; those that are there stay."""
    for spec in declaration.views:
        _register(stores, declaration, made, spec.name)


def _register(stores: Stores, declaration: Declaration, made: Manifest, name: str) -> None:
    spec = declaration.view(name)
    parts = {part: stores.files.location(held) for part, held in made.views[name].parts.items()}
    stores.catalogue.register(made.gen, spec, stores.files.view_location(spec), parts)
