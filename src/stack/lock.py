"""`make lock`: resolve every set anew and write infrastructure/local/jars.sha256."""

import hashlib
import shutil
import sys

from braid.adapters.environment import load
from braid.settings import JAR_SETS, Settings
from stack import ivy


def lines(settings: Settings) -> list[str]:
    """Return the list's lines, as `sha256sum` prints them, by the folders of the cache."""
    found: list[str] = []
    for jar_set, folder in JAR_SETS.items():
        aside = settings.cache / "lock" / folder
        shutil.rmtree(aside, ignore_errors=True)
        ivy.resolve(settings, jar_set, aside, lambda text: print(text, file=sys.stderr), [])  # noqa: T201  # a tool's progress
        found += [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {folder}/{jar.name}" for jar in aside.glob("*.jar")]
    return sorted(found, key=lambda line: line.split("  ")[1])


if __name__ == "__main__":
    here = load()
    (here.local / "jars.sha256").write_text("\n".join(lines(here)) + "\n", "ascii")
