"""Settings of this machine: the environment, its memory, its Java 17 and the ports that `braid up` recorded."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil

from braid.adapters import failpoints
from braid.errors import MissingPrerequisite, SettingsError
from braid.settings import Ports, Settings

JAVA_WANTED = 17


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process.

    Parameters
    ----------
    environ : mapping of BRAID_* names; os.environ when None

    Raises
    ------
    SettingsError : an unknown BRAID_* name, a value outside its range, an unreadable run/ports.json, a failpoint that
        is none
    """
    names = os.environ if environ is None else environ

    def of(recorded: Ports | None, mode: str) -> Settings:
        return Settings.of(
            names,
            root=Path(__file__).parents[3],
            python=Path(sys.executable),
            spark_home=_spark_home(),
            user_home=Path.home(),
            memory_bytes=memory_bytes(),
            recorded=recorded,
            recorded_mode=mode,
            java_home=java_home(names),
            maven=_maven_mirror(Path.home() / ".m2" / "settings.xml"),
        )

    first = of(None, "standard")
    recorded = recorded_ports(first.run / "ports.json")
    settings = of(*recorded) if recorded else first
    failpoints.check(settings.failpoints, settings.hosts)
    return settings


def recorded_ports(path: Path) -> tuple[Ports, str] | None:
    """Return the ports and the BRAID_PORTS text of the last `braid up`, or None when there was none."""
    try:
        record = json.loads(path.read_text("utf-8"))
        return Ports.of(record["ports"]), str(record["asked"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: expected the ports of the last `braid up`, got {error!r}; remove it") from error


def memory_bytes() -> int:
    """Return the memory this process may use: of the machine, or of its container where that is less."""
    limits = [int(psutil.virtual_memory().total)]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text("ascii")))
        except (OSError, ValueError):
            continue
    return min(limits)


def java_home(names: Mapping[str, str]) -> Path | None:
    """Return a Java 17: JAVA_HOME if it is one, else one from the usual folders, whatever PATH says first."""
    return next((home for home in _java_folders(names) if java_version(home) == JAVA_WANTED), None)


def java_version(home: Path) -> int | None:
    """Return the major version of the Java in a folder, or None when there is none to run."""
    if not os.access(home / "bin" / "java", os.X_OK):
        return None
    try:
        found = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text("utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def require_java(settings: Settings) -> Path:
    """Return the Java 17 of the settings.

    Raises
    ------
    MissingPrerequisite : there is none; the text says how to install it on this system
    """
    if settings.java_home is not None:
        return settings.java_home
    others = sorted({v for home in _java_folders(os.environ) if (v := java_version(home)) is not None})
    seen = f"found only Java {', '.join(map(str, others))}" if others else "found none"
    raise MissingPrerequisite(f"Java {JAVA_WANTED}: {seen}; install it: {install_command('java')}")


def _java_folders(names: Mapping[str, str]) -> Iterator[Path]:
    if names.get("JAVA_HOME"):
        yield Path(names["JAVA_HOME"])
    for pattern in (
        "/usr/lib/jvm/*",
        "/usr/java/*",
        "/opt/*jdk*",
        "/opt/java/*",
        "/Library/Java/JavaVirtualMachines/*/Contents/Home",
        "/opt/homebrew/opt/openjdk@17/libexec/openjdk.jdk/Contents/Home",
        "/usr/local/opt/openjdk@17/libexec/openjdk.jdk/Contents/Home",
    ):
        yield from sorted(Path("/").glob(pattern[1:]))
    yield from sorted((Path.home() / ".sdkman/candidates/java").glob("*"))
    for folder in names.get("PATH", "").split(os.pathsep):
        java = Path(folder or ".") / "java"
        if java.exists():
            yield java.resolve().parent.parent


PACKAGES = {
    "java": {
        "apt-get": "openjdk-17-jre-headless",
        "dnf": "java-17-openjdk-headless",
        "zypper": "java-17-openjdk-headless",
        "pacman": "jre17-openjdk-headless",
        "apk": "openjdk17-jre-headless",
        "brew": "openjdk@17",
    },
    "chromium": dict.fromkeys(("apt-get", "dnf", "zypper", "pacman", "apk"), "chromium") | {"brew": "--cask chromium"},
}
VERBS = {"apt-get": "install -y", "dnf": "install -y", "zypper": "install", "pacman": "-S", "apk": "add"}


def install_command(what: str) -> str:
    """Return the command that installs `what` (java, chromium) with this system's package manager."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for tool, package in PACKAGES[what].items():
        if any(os.access(Path(folder) / tool, os.X_OK) for folder in folders if folder):
            admin = "" if tool == "brew" or os.geteuid() == 0 else "sudo "
            return f"{admin}{tool} {VERBS.get(tool, 'install')} {package}"
    return "your system's package of a Java 17 runtime" if what == "java" else "your system's chromium package"


def _spark_home() -> Path:
    # find_spec, not import: importing pyspark costs a third of a second in every `braid` command
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise MissingPrerequisite(f"pyspark is not installed for {sys.executable}; run `make setup`")
    return Path(spec.origin).parent


def _maven_mirror(path: Path) -> str:
    """Return the mirror of Maven Central that the user's own Maven settings name; empty when there is none."""
    try:
        text = re.sub(r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL)
    except OSError:
        return ""
    for mirror in re.findall(r"<mirror>(.*?)</mirror>", text, re.DOTALL):
        of = re.search(r"<mirrorOf>\s*([^<]+?)\s*</mirrorOf>", mirror)
        url = re.search(r"<url>\s*([^<]+?)\s*</url>", mirror)
        if of and url and {"*", "central", "external:*"} & set(of[1].split(",")):
            return url[1]
    return ""
