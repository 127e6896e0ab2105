"""Receipts of live answers verify; an altered digit, in a receipt, an answer or the master, does not."""

import io
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace

import pytest

from braid import receipts
from braid.declaration_reader import parse
from braid.settings import LOOPBACK, Settings
from braid.views import Fragment
from cli import verify as command
from cli.main import main
from tests.services.api import Api, landcover_as, running_api
from tests.services.proof import Proof, image, write_master

CLASSES = ("red soil", "cotton crop", "grey soil")
BAD = [b"{}", b"not json", image(1, "blue soil"), image(2, ndvi="1e3"), b'{"image_id": "P-1"}']


@dataclass
class World:
    """A dataset with its records, and the API over it."""

    proof: Proof
    api: Api

    @property
    def name(self) -> str:
        return self.proof.declaration.dataset

    def url(self, view: str, query: str = "") -> str:
        return f"http://{LOOPBACK}:{self.api.settings.ports.api}/api/v1/datasets/{self.name}/views/{view}{query}"

    def ask(self, view: str, query: str = "") -> dict:
        with urllib.request.urlopen(self.url(view, query), timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def braid(self, *words: str) -> tuple[int, str, str]:
        """Run the command on the world's settings; return exit status, stdout, stderr."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("BRAID_HOME", str(self.api.settings.home))
            patch.setenv("BRAID_ROOT", str(self.api.settings.root))
            status = main(list(words))
        return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def world(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield 12 micro-batches, the first 8 in the master and in generation 1; copies, late and dead records among them."""
    name = f"verify{os.getpid()}"
    text = landcover_as(name)
    proof = Proof(stack, parse(text, name))
    try:
        proof.genesis()
        for seq in range(12):
            raws = [image(100 * seq + i, CLASSES[i % 3], f"0.{i:02d}{seq}", 5 * seq + i) for i in range(40)]
            raws += [image(100 * max(seq - 3, 0) + 7, CLASSES[1], "0.9"), *BAD[: seq % 6]]
            raws += [image(100 * seq + 77, CLASSES[0], "0.12345650000000000000001", 1)]
            proof.send(raws)
            proof.count()
            if seq == 7:
                proof.archive()
                proof.publish()
        with running_api(stack, tmp_path_factory.mktemp("api"), {name: text}) as api:
            api.complete_at(name, 12)
            yield World(proof, api)
    finally:
        proof.close()
        shutil.rmtree(stack.warehouse_dir / "master" / name, ignore_errors=True)
        shutil.rmtree(stack.warehouse_dir / "views" / name, ignore_errors=True)


@pytest.mark.parametrize(
    "query",
    ["", "?class_name=red%20soil", "?from=2026-01-01T00:30:00Z&to=2026-01-01T01:00:00Z", "?order=desc&limit=3",
     "?layer=batch", "?layer=speed", "?window=1h", "?window=all&from=2026-01-01T00:30:00Z", "?group_by=&stats=mean",
     "?from=2030-01-01T00:00:00Z"],
)  # fmt: skip
def test_a_receipt_of_a_live_answer_verifies_by_itself_and_with_its_rows(world: World, query: str) -> None:
    answer = world.ask("realtime_ndvi_by_class", query)
    status, out, err = world.braid("verify", answer["meta"]["receipt"])
    assert (status, out[:6]) == (0, "equal:"), out + err
    assert f"{len(answer['data'])} rows" in out
    status, out, err = world.braid("verify", world.url("realtime_ndvi_by_class", query))
    assert (status, out[:6]) == (0, "equal:"), out + err


@pytest.mark.parametrize("view", ["landcover_aggregates", "spectral_by_class"])
def test_views_over_all_time_verify(world: World, view: str) -> None:
    status, out, err = world.braid("verify", "--json", world.url(view))
    found = json.loads(out)
    assert status == 0 and found["equal"] and found["difference"] is None, err
    assert found["rows"] == 3 and found["records_read"] == world.proof.stores.ledger.head().end[world.proof.place]


@pytest.mark.parametrize("path", ["/api/realtime/ndvi", "/api/batch/class-stats"])
def test_bare_arrays_with_their_receipt_in_a_header_verify(world: World, path: str) -> None:
    status, out, err = world.braid("verify", f"http://{LOOPBACK}:{world.api.settings.ports.api}{path}")
    assert (status, out[:6]) == (0, "equal:"), out + err


def test_many_receipts_are_checked_with_one_reading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    head = world.proof.stores.ledger.head().seq
    asked = [
        f"?as_of={gen}:{seq}{more}"
        for gen, first in ((0, 0), (1, 8))
        for seq in range(first, head + 1)
        for more in ("", "&layer=speed", "&class_name=red%20soil&class_name=grey%20soil")
    ]
    tokens = [
        world.ask(view, query)["meta"]["receipt"]
        for view in ("realtime_ndvi_by_class", "spectral_by_class")
        for query in asked
    ]
    assert len(tokens) > 100
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(tokens)))
    status, out, err = world.braid("verify", "-")
    assert (status, out) == (0, f"{len(tokens)} of {len(tokens)} receipts are equal\n"), out + err
    receipt = receipts.decode(tokens[9])
    foreign, wrong = replace(receipt, seq=head + 9), replace(receipt, digest="0" * 64)
    altered = [*tokens[:3], tokens[3][:-1] + "*", receipts.encode(wrong), receipts.encode(foreign)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(altered)))
    status, out, _ = world.braid("verify", "-", "--json")
    found = json.loads(out)
    assert (status, found["receipts"], found["equal"], sorted(found["different"])) == (1, 6, 3, ["4", "5", "6"])
    texts = list(found["different"].values())
    assert "changed or lost" in texts[0] and "sha256 of the states" in texts[1] and "another instance" in texts[2]


def test_a_whole_dataset_verifies_line_by_line(world: World) -> None:
    status, out, err = world.braid("verify", world.name)
    assert status == 0, out + err
    lines = out.splitlines()
    assert all(line.startswith("equal ") for line in lines) and len(lines) == 6 + 2 + 9
    row = world.proof.stores.ledger.head()
    assert f"{row.end[world.proof.place]:,} = {row.totals['good']:,} good + {row.totals['copies']:,} copies" in out
    assert "read" in err


def test_one_altered_digit_of_a_receipt_is_found(world: World) -> None:
    token = world.ask("landcover_aggregates")["meta"]["receipt"]
    at = len(token) // 2
    altered = token[:at] + ("1" if token[at] != "1" else "2") + token[at + 1 :]
    status, _, err = world.braid("verify", altered)
    assert status == 1 and "a character was changed or lost" in err


def test_a_receipt_made_anew_with_another_claim_is_refuted_with_both_values(world: World) -> None:
    receipt = receipts.decode(world.ask("landcover_aggregates")["meta"]["receipt"])
    status, out, _ = world.braid("verify", receipts.encode(replace(receipt, n=receipt.n + 1)))
    assert status == 1 and f"events: recount {receipt.n}, receipt {receipt.n + 1}" in out
    status, out, _ = world.braid("verify", receipts.encode(replace(receipt, digest="0" * 64)))
    assert status == 1 and "the receipt is not what Braid answered" in out
    status, out, _ = world.braid("verify", receipts.encode(replace(receipt, offsets={world.proof.topic + ":0": 1})))
    assert status == 1 and "another instance" in out


def test_a_row_of_an_answer_that_is_not_the_recount_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = world.ask("landcover_aggregates", "?state=1")
    rows = answer["data"]
    for change in (
        lambda row: row["state"]["measures"]["ndvi"].update(sum=str(int(row["state"]["measures"]["ndvi"]["sum"]) + 1)),
        lambda row: row.update(ndvi_avg=row["ndvi_avg"] + 1e-9),
    ):
        altered = json.loads(json.dumps(rows))
        change(altered[1])
        monkeypatch.setattr(command, "fetched", lambda _, held=altered: (answer["meta"]["receipt"], held))
        status, out, _ = world.braid("verify", world.url("landcover_aggregates"))
        assert status == 1 and f"landcover_aggregates [class_name {rows[1]['class_name']!r}] ndvi" in out
        assert ": recount " in out and ", the answer " in out


def test_an_altered_value_in_a_master_file_is_found_even_when_its_sums_are_made_to_fit(world: World) -> None:
    token = world.ask("landcover_aggregates")["meta"]["receipt"]
    (cut,) = world.proof.master.cuts()
    folder = world.proof.master.path / cut.folder
    kept = folder.parent.parent / f"kept-{world.name}"
    shutil.copytree(folder, kept)
    try:
        records = world.proof.held(0, cut.end[world.proof.place])
        at = next(i for i, r in enumerate(records) if b'"ndvi_mean": 0.013' in r.value)
        records[at] = records[at]._replace(value=records[at].value.replace(b"0.013", b"0.014"))
        write_master(next(folder.rglob("*.parquet")), world.proof.topic, records)
        status, _, err = world.braid("verify", token)
        assert status == 1 and "records-00000.parquet: expected sha256" in err
        status, out, _ = world.braid("verify", world.name)
        assert status == 1 and "DIFFERENT" in out and "records-00000.parquet: expected sha256" in out
        world.proof.reseal(cut)
        status, out, _ = world.braid("verify", token)
        assert status == 1 and out.startswith("different: sha256 of the states")
        assert "ndvi sum: recount " in out and ", the stores " in out
        status, out, _ = world.braid("verify", world.name)
        assert status == 1 and "ndvi sum: recount " in out and "(1 of " in out
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
    assert world.braid("verify", token)[0] == 0


def test_a_fragment_that_is_not_the_recount_is_found_and_its_seq_named(world: World) -> None:
    view = world.proof.declaration.fragment_views[0]
    row = world.proof.stores.ledger.head()
    right = world.proof.stores.fragments.read(view, [row])
    moments = right[0].state.measures[0]
    wrong = replace(right[0].state, measures=(replace(moments, sum=moments.sum + 1),))
    altered = Fragment(row.seq, right[0].window_start_us, right[0].key, wrong)
    try:
        world.proof.stores.fragments.write(view, row.bucket, row.attempt, [altered])
        status, out, _ = world.braid("verify", world.name)
        assert status == 1
        told = next(line for line in out.splitlines() if f"seq {row.seq}: {view.name} [" in line)
        assert f"ndvi sum: recount {moments.sum}, the fragments {moments.sum + 1}" in told
    finally:
        world.proof.stores.fragments.write(view, row.bucket, row.attempt, right[:1])
    assert world.braid("verify", world.name)[0] == 0


def test_an_earlier_answer_is_given_again_until_its_generation_is_dropped(world: World) -> None:
    views = [v.name for v in world.proof.declaration.views]
    asked = [*views, f"{views[0]}?window=1h", f"{views[0]}?layer=batch"]

    def data(question: str, as_of: str = "") -> bytes:
        url = world.url(question) + (f"{'&' if '?' in question else '?'}as_of={as_of}" if as_of else "")
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            body = answer.read()
        return body[: body.index(b',"meta":')]

    before = {question: data(question) for question in asked}
    meta = world.ask(views[0])["meta"]
    as_of = f"{meta['as_of']['generation']}:{meta['as_of']['seq']}"
    for turn in range(3):
        world.proof.send([image(9000 + turn)])
        seq = world.proof.count().seq
        gen = world.proof.publish().gen
        world.api.until("the new generation", lambda g=gen: world.ask(views[0])["meta"]["as_of"]["generation"] == g)
        world.api.complete_at(world.name, seq)
        if turn < 2:
            assert {question: data(question, as_of) for question in asked} == before
            assert data(views[0]) != before[views[0]]
    with pytest.raises(urllib.error.HTTPError) as refused:
        data(views[0], as_of)
    found = json.load(refused.value)
    assert (
        refused.value.code == 410
        and f"generation {as_of.split(':', maxsplit=1)[0]} is no longer kept" in found["detail"]
    )
    status, out, err = world.braid("verify", meta["receipt"])  # the log outlives what was made of it
    assert (status, out[:6]) == (0, "equal:"), out + err


def test_an_event_is_explained_counted_copied_dead_and_waiting(world: World) -> None:
    at = f"{world.proof.topic}:0"
    held = world.proof.held(0, world.proof.stores.ledger.head().end[world.proof.place])
    own = [r.offset for r in held if r.value.startswith(b'{"image_id": "P-7",') and b"00:00:00Z" in r.value]
    status, out, err = world.braid("explain", "P-7", "2026-01-01T00:00:00Z", "--dataset", world.name)
    assert status == 0, err
    first, *copies = [line for line in out.splitlines() if line.startswith(at)]
    assert first.startswith(f"{at} offset {own[0]}, seq 1, ") and "counted: counts once, in generation" in first
    assert len(copies) == len(own) - 1 > 0
    assert all(f"copy: of {at} offset {own[0]}, which is first in ledger order and counts" in line for line in copies)
    assert "    realtime_ndvi_by_class: window 2026-01-01T00:00:00Z, class_name 'cotton crop'" in out
    dead = next(r.offset for r in held if r.value == BAD[2])
    status, out, _ = world.braid("explain", f"{at}:{dead}")
    assert status == 0 and f"{at} offset {dead}, " in out and "dead: $.class_name: expected one of red soil" in out
    status, out, _ = world.braid("explain", f"{at}:{own[-1]}", "--json")
    found = json.loads(out)
    assert [one["verdict"] for one in found] == ["counted", *["copy"] * (len(own) - 1)]
    assert found[0]["identity"] == ["P-7", 1767225600000000]
    world.proof.send([b'{"image_id": "\\u0050-77777"' + image(77777)[len(b'{"image_id": "P-77777"') :]])
    status, out, _ = world.braid("explain", "P-77777")
    assert status == 0 and "after head" in out and "waiting: " in out
    world.api.complete_at(world.name, world.proof.count().seq)
    status, out, _ = world.braid("explain", "P-77777")
    assert f"counted: counts once, in the tail, fragment of seq {world.proof.stores.ledger.head().seq}" in out
    status, out, _ = world.braid("explain", "P-nobody")
    assert status == 1 and out.startswith("no record of P-nobody")


def test_an_answer_is_explained_row_by_row(world: World) -> None:
    status, out, err = world.braid("explain", "--json", world.url("landcover_aggregates"))
    assert status == 0, err
    for row in json.loads(out):
        merged = row["explain"]
        assert merged["generation"]["n"] + sum(part["n"] for part in merged["fragments"]) == row["n"]
    status, out, _ = world.braid("explain", world.url("landcover_aggregates"))
    assert status == 0 and "(generation " in out and out.rstrip().endswith("3 rows")


def test_what_cannot_be_verified_says_why(world: World) -> None:
    for words, status, text in (
        (("verify",), 2, "expected a receipt, a URL, a dataset, or --all"),
        (("verify", "nothing"), 2, "dataset: expected one of"),
        (("verify", "ftp://x/"), 2, "expected an http address"),
        (("verify", world.url("nothing")), 2, "404"),
        (("verify", world.url("landcover_aggregates").rsplit("/views", 1)[0]), 2, "got 400"),
    ):
        got, _, err = world.braid(*words)
        assert (got, text in err) == (status, True), (words, err)
