"""The jars: what is on the list is taken, everything else is refused by name."""

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from braid.adapters.environment import load
from braid.errors import JarRefused, StackError
from braid.settings import JAR_SETS, Settings
from stack import ivy, jars, web

SHAS = {"a.jar": hashlib.sha256(b"aaa").hexdigest(), "b.jar": hashlib.sha256(b"bbb").hexdigest()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jar").write_bytes(b"aaa")
    (tmp_path / "b.jar").write_bytes(b"bbb")
    return tmp_path


def test_a_folder_with_the_listed_jars_is_whole(folder: Path):
    assert jars.whole(folder, SHAS)


def test_a_missing_jar_means_fetch(folder: Path):
    (folder / "b.jar").unlink()
    assert not jars.whole(folder, SHAS)


def test_a_changed_jar_is_refused_by_name_with_both_sums(folder: Path):
    assert jars.whole(folder, SHAS)
    (folder / "b.jar").write_bytes(b"evil")
    with pytest.raises(JarRefused) as caught:
        jars.whole(folder, SHAS)
    got = hashlib.sha256(b"evil").hexdigest()
    assert str(caught.value) == (
        f"jars: {folder / 'b.jar'}: expected sha256 {SHAS['b.jar']}, got {got}; remove its folder and try again"
    )


def test_a_jar_that_nobody_listed_is_refused(folder: Path):
    # the folder is a class path as a whole
    (folder / "c.jar").write_bytes(b"c")
    with pytest.raises(JarRefused, match=r"c\.jar: not on infrastructure/local/jars\.sha256"):
        jars.whole(folder, SHAS)


def test_a_second_look_hashes_only_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    hashed: list[str] = []
    real = jars._refuse_other
    monkeypatch.setattr(jars, "_refuse_other", lambda path, sha: (hashed.append(path.name), real(path, sha)))
    assert jars.whole(folder, SHAS)
    assert sorted(hashed) == ["a.jar", "b.jar"]
    hashed.clear()
    assert jars.whole(folder, SHAS)
    assert hashed == []
    os.utime(folder / "a.jar", ns=(1, 1))
    assert jars.whole(folder, SHAS)
    assert hashed == ["a.jar"]


def test_a_new_list_is_held_against_old_jars(folder: Path):
    assert jars.whole(folder, SHAS)
    with pytest.raises(JarRefused, match=r"a\.jar: expected sha256 0000"):
        jars.whole(folder, SHAS | {"a.jar": "0" * 64})


def test_the_checked_in_list_covers_every_set_and_names_its_folder():
    listed = jars.listed(load({}))
    assert set(listed) == set(JAR_SETS)
    assert len(listed["kafka"]) > 40 and len(listed["cassandra"]) > 90
    assert set(listed["web"]) == set(web.FILES)
    assert all(len(sha) == 64 for shas in listed.values() for sha in shas.values())


def test_the_ivy_files_say_the_versions_of_the_folders():
    here = load({})
    for jar_set, folder in JAR_SETS.items():
        text = (here.local / "ivy" / f"{jar_set}.xml").read_text()
        assert f'module="{jar_set}" revision="{folder.removeprefix(f"{jar_set}-")}"' in text


def test_a_root_without_a_list_is_named(tmp_path: Path):
    with pytest.raises(StackError, match="BRAID_ROOT must name a checkout"):
        jars.listed(replace(load({}), root=tmp_path))


def offline(tmp_path: Path, sha: str) -> Settings:
    """Return settings whose list has one jar a set, and a repository that is a folder."""
    local = tmp_path / "infrastructure" / "local"
    local.mkdir(parents=True)
    (local / "jars.sha256").write_text("".join(f"{sha}  {folder}/x-1.jar\n" for folder in JAR_SETS.values()))
    return replace(load({}), root=tmp_path, cache=tmp_path / "cache")


def test_a_fetched_jar_with_another_sum_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = offline(tmp_path, "0" * 64)

    def resolve(settings: Settings, jar_set: str, target: Path, say: object, running: object) -> None:
        target.mkdir(parents=True)
        (target / "x-1.jar").write_bytes(b"other")

    monkeypatch.setattr(ivy, "resolve", resolve)
    with pytest.raises(JarRefused, match=r"x-1\.jar: expected sha256 0000"):
        jars.ensure(settings, lambda text: None, ("kafka",))
    assert not settings.jar_dir("kafka").exists()
    assert not list((settings.cache / "jars").glob(".*"))


def test_a_set_is_fetched_once_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = offline(tmp_path, hashlib.sha256(b"x").hexdigest())
    fetched: list[str] = []

    def resolve(settings: Settings, jar_set: str, target: Path, say: object, running: object) -> None:
        fetched.append(jar_set)
        target.mkdir(parents=True)
        (target / "x-1.jar").write_bytes(b"x")

    monkeypatch.setattr(ivy, "resolve", resolve)
    said: list[str] = []
    for _ in range(2):
        jars.ensure(settings, said.append, ("kafka", "spark"))
    assert sorted(fetched) == ["kafka", "spark"]
    assert any("kafka: 1 jars" in line for line in said)


def test_the_webjars_give_their_files_and_the_licence_that_no_file_names(tmp_path: Path):
    for jar, files in web.FILES.items():
        with zipfile.ZipFile(tmp_path / jar, "w") as archive:
            for inside in files:
                archive.writestr(f"{web.INSIDE}/{inside}", f"// {jar}")
    assert not web.complete(tmp_path)
    web.extract(tmp_path)
    assert web.complete(tmp_path)
    assert (tmp_path / "files" / "chart.umd.min.js").read_text() == "// chart.js-4.5.1.jar"
    assert web.names()[:2] == ("chart.umd.min.js", "luxon.min.js")
    assert web.names()[-3:] == ("leaflet.js", "leaflet.css", "leaflet-LICENSE.txt")


@pytest.mark.parametrize(
    ("environ", "options"),
    [
        ({}, []),
        ({"no_proxy": "x"}, []),
        ({"HTTPS_PROXY": "proxy:8080"}, ["-Dhttps.proxyHost=proxy", "-Dhttps.proxyPort=8080"]),
        ({"http_proxy": "http://p"}, ["-Dhttp.proxyHost=p", "-Dhttp.proxyPort=80"]),
    ],
)
def test_the_proxy_of_the_environment_is_handed_to_java(environ: dict[str, str], options: list[str]):
    assert ivy.proxy_options(environ) == options
