"""The jars: resolved by the Ivy that pyspark carries, held to a checked-in list of sha256, cached once a user.

A set (kafka, cassandra, spark, web) is one folder of the cache, named by its version, so that checkouts of different
versions share a cache. It is filled aside, compared with `infrastructure/local/jars.sha256` and renamed: a folder is
there whole or not at all. Afterwards size and modification time stand for the content; what differs is hashed again.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from braid.errors import JarRefused, StackError
from braid.settings import JAR_SETS, Settings
from stack import ivy, locks, web
from stack.ivy import Say

STAMP = ".verified"


def listed(settings: Settings) -> dict[str, dict[str, str]]:
    """Return {set: {file name: sha256}} as checked in.

    Raises
    ------
    StackError : the list cannot be read, or lacks a set
    """
    path = settings.local / "jars.sha256"
    by_folder: dict[str, dict[str, str]] = {}
    try:
        for line in path.read_text("ascii").splitlines():
            sha, _, name = line.partition("  ")
            folder, _, file = name.partition("/")
            by_folder.setdefault(folder, {})[file] = sha
    except OSError as error:
        raise StackError(f"{path}: cannot be read ({error.strerror}); BRAID_ROOT must name a checkout") from error
    missing = [folder for folder in JAR_SETS.values() if folder not in by_folder]
    if missing:
        raise StackError(f"{path}: expected lines for {missing[0]}, got none; run `make lock`")
    return {jar_set: by_folder[folder] for jar_set, folder in JAR_SETS.items()}


def ensure(settings: Settings, say: Say, jar_sets: tuple[str, ...] = tuple(JAR_SETS)) -> None:
    """Have every jar of the sets in the cache, fetching what is missing, sets side by side.

    Raises
    ------
    JarRefused : a jar's sha256 differs from the list, or a jar is not on it
    StackError : Ivy could not fetch a set
    """
    wanted = listed(settings)
    missing = [name for name in jar_sets if not whole(settings.jar_dir(name), wanted[name])]
    if not missing:
        return
    running: list[subprocess.Popen[str]] = []
    try:
        with ThreadPoolExecutor(len(missing)) as pool:
            futures = [pool.submit(_fetch, settings, name, wanted[name], say, running) for name in missing]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # leaving the pool waits for its threads, and they wait for their Ivy
                _kill(running)
                raise
    finally:
        _kill(running)


def whole(folder: Path, shas: dict[str, str]) -> bool:
    """Return whether the folder holds exactly the listed jars; False when it is to be fetched.

    Raises
    ------
    JarRefused : a jar is there and is not the listed one
    """
    stamp = folder / STAMP
    try:
        known = json.loads(stamp.read_text("ascii"))
    except (OSError, ValueError):
        known = {}
    seen = {path.name: _facts(path) for path in sorted(folder.glob("*.jar"))}
    _refuse_strangers(folder, set(seen) - set(shas))
    if set(seen) != set(shas):
        return False
    changed = [name for name in seen if known.get(name) != [*seen[name], shas[name]]]
    for name in changed:
        _refuse_other(folder / name, shas[name])
    if changed:
        _write_stamp(folder, shas)
    return folder.name != JAR_SETS["web"] or web.complete(folder)


def _fetch(
    settings: Settings, jar_set: str, shas: dict[str, str], say: Say, running: list[subprocess.Popen[str]]
) -> None:
    final = settings.jar_dir(jar_set)
    with locks.held(settings.cache / f"{jar_set}.lock"):
        # another instance may have fetched it while we waited
        if whole(final, shas):
            return
        started = time.monotonic()
        say(f"{jar_set}: fetching {len(shas)} jars from {ivy.source(settings)}")
        aside = final.with_name(f".{final.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            ivy.resolve(settings, jar_set, aside, say, running)
            _refuse_strangers(aside, {path.name for path in aside.glob("*.jar")} - set(shas))
            for name, sha in shas.items():
                _refuse_other(aside / name, sha)
            if jar_set == "web":
                web.extract(aside)
            _write_stamp(aside, shas)
            shutil.rmtree(final, ignore_errors=True)
            aside.rename(final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(settings.cache / "ivy" / jar_set, ignore_errors=True)
        size = sum(path.stat().st_size for path in final.glob("*.jar"))
        say(f"{jar_set}: {len(shas)} jars, {size // 10**6} MB, sha256 as listed, {time.monotonic() - started:.0f} s")


def _facts(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _write_stamp(folder: Path, shas: dict[str, str]) -> None:
    facts = {name: [*_facts(folder / name), sha] for name, sha in shas.items()}
    (folder / STAMP).write_text(json.dumps(facts), "ascii")


def _refuse_other(path: Path, expected: str) -> None:
    if not path.exists():
        raise StackError(f"jars: {path.name}: on the list, but Ivy did not fetch it; see infrastructure/local/ivy/")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        raise JarRefused(f"jars: {path}: expected sha256 {expected}, got {got}; remove its folder and try again")


def _refuse_strangers(folder: Path, names: set[str]) -> None:
    if names:
        raise JarRefused(f"jars: {folder / min(names)}: not on infrastructure/local/jars.sha256; remove it")


def _kill(running: list[subprocess.Popen[str]]) -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
