"""What an incremental run stands on: a generation that can be added to, and the ids that counted up to its cut.

A generation can be added to when it is the served one, undamaged, of the declaration in force, and its cut is the end of a
folder of the master: then what it lacks is exactly what the later folders hold. Otherwise everything is read again, which
is always right; so each doubt is answered with the reason for that and none with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from batch_layer.publish import Stores
from batch_layer.recompute import Known, id_files, ids_read_again
from braid import change, generations
from braid.adapters import durable
from braid.adapters.files import columns_of
from braid.adapters.ids import Ids
from braid.adapters.master import Cut, Master
from braid.declaration import Declaration
from braid.ledger import Current, LedgerRow


def unfit(stores: Stores, declaration: Declaration, cuts: Sequence[Cut], head: LedgerRow, served: Current) -> str:
    """Return why nothing can be added to the served, undamaged generation; empty when it can."""
    if not served.gen:
        return "the first generation"
    if served.definition != declaration.hash or change.pending(head, served):
        return "another declaration than that of the served generation"
    held, seqs = stores.files.manifest(served.gen), [cut.seq for cut in cuts]
    folders = [cut.folder for cut in cuts[: len(held.master)]]
    if not folders or folders != list(held.master) or seqs[len(folders) - 1] != served.cut_seq:
        return "the served generation was computed from other folders of the master"
    parts = {
        name: generations.joined({part: one.sums for part, one in view.parts.items()})
        for name, view in held.views.items()
    }
    if (held.cut_seq, parts) != (served.cut_seq, generations.vouched(served)):
        return "the manifest of the served generation is not what was published"
    if {name: view.columns for name, view in held.views.items()} != {v.name: columns_of(v) for v in declaration.views}:
        return "the views have other columns"
    if any(cut.definition != declaration.hash for cut in cuts[len(folders) :]):
        return "another declaration read the new records"
    return ""


def known(
    stores: Stores,
    master: Master,
    spark: Callable[[], SparkSession],
    declaration: Declaration,
    cuts: Sequence[Cut],
    served: Current,
) -> tuple[Known | None, str]:
    """Return what knows the ids that counted up to the served cut, or why there is nothing that does."""
    if declaration.dedupe == "none":
        return None, ""
    ids = Ids(stores.files.root, declaration.dataset, declaration.hash)

    def files(cut: Cut) -> list[Path]:
        master.check_files([cut])
        if cut.definition == declaration.hash:
            return id_files(declaration, master, [cut])
        aside = durable.stage(ids.path, cut.folder) / "ids"
        return ids_read_again(spark(), declaration, master, cut, aside)

    row = stores.ledger.rows(served.cut_seq - 1, served.cut_seq)[0]
    counted = generations.counts(row, served)
    before = [cut for cut in cuts if cut.seq <= served.cut_seq]
    if ids.bring_up(before, files, (counted.get("good", 0), counted.get("fp", 0))):
        return ids.copies, ""
    return None, f"the master's ids up to ledger seq {served.cut_seq} are not those that the ledger counted"
