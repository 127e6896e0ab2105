"""Spark's checkpoint is believed only when it ends at the ledger's head, or one micro-batch after it."""

import json

import pytest

from braid.ledger import LedgerRow, Range
from speed_layer import checkpoint

ENDS = [{("t", 0): n, ("t", 1): n} for n in (0, 10, 25, 40)]
HEAD = LedgerRow(2, "micro", 5, "w", Range(ENDS[1], ENDS[2]), good=30)


def written(path, ends, commits, first=None):
    """Write a checkpoint directory as Spark 4.2 does."""
    for folder in ("offsets", "commits", "sources/0"):
        (path / folder).mkdir(parents=True)
    texts = [json.dumps({"t": {str(p): o for (_, p), o in e.items()}}) for e in ends]
    (path / "sources/0/0").write_bytes(
        b"\0v1\n" + json.dumps({"t": {str(p): o for (_, p), o in (first or ENDS[0]).items()}}).encode()
    )
    for n, text in enumerate(texts):
        (path / "offsets" / str(n)).write_text('v1\n{"batchWatermarkMs":0}\n' + text)
        (path / "offsets" / f".{n}.crc").write_bytes(b"x")
    for n in range(commits):
        (path / "commits" / str(n)).write_text("v1\n{}")
    return path


@pytest.mark.parametrize(
    ("ends", "commits", "fits"),
    [
        ([1, 2], 2, True),  # ends exactly at head
        ([1, 2], 1, True),  # Spark did not record that head's micro-batch returned: it replays it
        ([1, 2, 3], 2, True),  # one uncommitted micro-batch after head
        ([1, 2, 3], 3, False),  # Spark went on without the ledger: a restored ledger, or a foreign checkpoint
        ([1], 1, False),  # behind: a successor in another directory has committed since
        ([1, 3], 1, False),  # its micro-batch spans head
        ([], 0, False),
    ],
)
def test_a_checkpoint_is_used_when_it_fits_the_head(tmp_path, ends, commits, fits):
    path = written(tmp_path / "checkpoint-000001", [ENDS[i] for i in ends], commits)
    assert checkpoint.usable(checkpoint.read(path), HEAD) is fits
    chosen, fresh = checkpoint.choose(tmp_path, HEAD)
    assert (chosen == path, fresh) == (fits, not fits)


def test_a_range_starts_where_the_one_before_it_ended(tmp_path):
    path = written(tmp_path, ENDS[1:], 2, first=ENDS[0])
    assert checkpoint.range_of(path, 0) == Range(ENDS[0], ENDS[1])
    assert checkpoint.range_of(path, 2) == Range(ENDS[2], ENDS[3])


@pytest.mark.parametrize("damage", [b"", b"v1\n{}", b"v1\n{}\n[1]", b"\xff\xfe", b'v1\n{}\n{"t": 5}'])
def test_a_torn_checkpoint_is_left_for_a_new_directory(tmp_path, damage):
    path = written(tmp_path / "checkpoint-000007", ENDS[1:3], 1)
    (path / "offsets" / "1").write_bytes(damage)
    assert checkpoint.read(path) is None
    assert checkpoint.choose(tmp_path, HEAD) == (tmp_path / "checkpoint-000008", True)


def test_old_directories_go_but_the_newest_is_never_reused_in_place(tmp_path):
    for n in range(1, 6):
        written(tmp_path / f"checkpoint-{n:06d}", [ENDS[1]], 1)
    chosen, fresh = checkpoint.choose(tmp_path, HEAD)
    assert (chosen.name, fresh) == ("checkpoint-000006", True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-000004", "checkpoint-000005"]
