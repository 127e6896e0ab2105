"""Spark's checkpoint is a scratch file: a directory of its own for every query, and a range read from it."""

import json

import pytest

from braid.ledger import Range
from speed_layer import checkpoint

ENDS = [{("t", 0): n, ("t", 1): n} for n in (0, 10, 25, 40)]


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


def test_a_range_starts_where_the_one_before_it_ended(tmp_path):
    path = written(tmp_path, ENDS[1:], 2, first=ENDS[0])
    assert checkpoint.range_of(path, 0) == Range(ENDS[0], ENDS[1])
    assert checkpoint.range_of(path, 2) == Range(ENDS[2], ENDS[3])


@pytest.mark.parametrize("damage", [b"", b"v1\n{}", b"v1\n{}\n[1]", b"\xff\xfe", b'v1\n{}\n{"t": 5}'])
def test_a_torn_file_ends_the_micro_batch(tmp_path, damage):
    path = written(tmp_path, ENDS[1:3], 1)
    (path / "offsets" / "1").write_bytes(damage)
    with pytest.raises((ValueError, AttributeError)):
        checkpoint.range_of(path, 1)


def test_every_query_begins_in_a_directory_of_its_own(tmp_path):
    first = checkpoint.fresh(tmp_path, "host:1:a")
    assert first.parent == tmp_path
    written(first, [ENDS[1]], 1)
    assert checkpoint.fresh(tmp_path, "host:2:b").name.startswith("checkpoint-000002-")
    (tmp_path / "checkpoint-000007").mkdir()  # a name without a writer
    assert checkpoint.fresh(tmp_path, "host:2:b").name.startswith("checkpoint-000008-")


def test_a_name_is_not_used_again_when_the_directories_were_deleted(tmp_path):
    assert checkpoint.fresh(tmp_path / "gone", "host:1:a").name != checkpoint.fresh(tmp_path, "host:2:b").name


def test_old_directories_go_and_the_newest_two_stay(tmp_path):
    for n in range(1, 6):
        written(tmp_path / f"checkpoint-{n:06d}-0123456789ab", [ENDS[1]], 1)
    chosen = checkpoint.fresh(tmp_path, "host:1:a")
    assert chosen.name.startswith("checkpoint-000006-")
    assert sorted(p.name[:17] for p in tmp_path.iterdir()) == ["checkpoint-000004", "checkpoint-000005"]
