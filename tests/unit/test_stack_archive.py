"""The archive of Spark's classes: made once, made anew when what it was made of changes, and never half there."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from braid.errors import StackError
from braid.settings import Settings
from stack import archive
from tests.unit.serving_world import settings_of

ROOT = Path(__file__).parents[2]


class Rehearsal:
    """Writes an archive, or not; counts how often it was asked."""

    def __init__(self) -> None:
        self.runs = 0
        self.text = b"classes"

    def __call__(self, settings: Settings) -> None:
        self.runs += 1
        if self.text:
            settings.class_archive_aside.write_bytes(self.text)


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Rehearsal:
    found = Rehearsal()
    monkeypatch.setattr(archive, "_rehearse", found)
    return found


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    java = tmp_path / "jvm"
    (java / "lib").mkdir(parents=True)
    (java / "bin").mkdir()
    (java / "lib" / "modules").write_text("java", "utf-8")
    (java / "bin" / "java").write_text("", "utf-8")
    (java / "release").write_text('JAVA_VERSION="17.0.15"\n', "utf-8")
    spark = tmp_path / "pyspark"
    (spark / "jars").mkdir(parents=True)
    (spark / "jars" / "one.jar").write_text("jar", "utf-8")
    return replace(settings_of(ROOT), spark_home=spark, cache=tmp_path / "cache", java_home=java)


def test_it_is_made_once(here: Settings, rehearsal: Rehearsal) -> None:
    said: list[str] = []
    archive.ensure(here, said.append)
    archive.ensure(here, said.append)
    assert rehearsal.runs == 1
    assert here.class_archive.read_bytes() == b"classes" and not here.class_archive_aside.exists()
    assert len(said) == 2 and said[0].startswith("spark: archiving its classes")
    assert list(here.spark_conf_dir.iterdir()) == []


def later(path: Path) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


CHANGES: dict[str, Callable[[Settings], None]] = {
    "another Java": lambda s: (s.java_home or Path()).joinpath("lib", "modules").write_text("newer java", "utf-8") and None,
    "a jar more": lambda s: (s.spark_home / "jars" / "two.jar").write_text("jar", "utf-8") and None,
    "a jar written again": lambda s: later(s.spark_home / "jars" / "one.jar"),
    "a torn archive": lambda s: os.truncate(s.class_archive, 3),
    "no archive": lambda s: s.class_archive.unlink(),
    "a stamp that is none": lambda s: s.class_archive.with_suffix(".json").write_text("{", "utf-8") and None,
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_made_anew_after(what: str, here: Settings, rehearsal: Rehearsal) -> None:
    archive.ensure(here, lambda _: None)
    CHANGES[what](here)
    rehearsal.text = b"other classes"
    archive.ensure(here, lambda _: None)
    assert rehearsal.runs == 2 and here.class_archive.read_bytes() == b"other classes"


def test_a_rehearsal_without_an_archive_is_an_error_and_leaves_none(here: Settings, rehearsal: Rehearsal) -> None:
    archive.ensure(here, lambda _: None)
    later(here.spark_home / "jars" / "one.jar")
    rehearsal.text = b""
    with pytest.raises(StackError, match="expected an archive of Spark's classes, got none"):
        archive.ensure(here, lambda _: None)
    assert not here.class_archive.exists()


def test_a_rehearsal_that_fails_says_its_last_words(here: Settings) -> None:
    with pytest.raises(StackError, match=r"rehearsal\.py.*exit 1: "):
        archive.ensure(replace(here, python=Path("/bin/false")), lambda _: None)
    assert not here.class_archive.exists()
