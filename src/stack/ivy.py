"""Ivy, which pyspark carries: resolves a set of jars from Maven Central or a mirror, behind a proxy or not."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from braid.adapters.environment import require_java
from braid.errors import StackError
from braid.settings import Settings

Say = Callable[[str], None]


def resolve(settings: Settings, jar_set: str, target: Path, say: Say, running: list[subprocess.Popen[str]]) -> None:
    """Let Ivy resolve a set and copy its jars into the folder `target`.

    Raises
    ------
    StackError : Ivy ended with an error; its log is named and its last lines are in the text
    """
    ivy, log = settings.cache / "ivy" / jar_set, settings.cache / "ivy" / f"{jar_set}.log"
    ivy.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            _command(settings, jar_set, ivy, target), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        fetched = 0
        for line in process.stdout or ():
            out.write(line)
            fetched += "[SUCCESSFUL ]" in line
            if "[SUCCESSFUL ]" in line and fetched % 20 == 0:
                say(f"{jar_set}: {fetched} files fetched")
    if process.wait() != 0:
        lines = [line.strip() for line in log.read_text("utf-8").splitlines() if "::" in line or "ERROR" in line]
        reason = next((line.strip(":= \t") for line in lines if "not found" in line or "ERROR" in line), "see the log")
        raise StackError(
            f"jars: {jar_set}: Ivy ended with {process.returncode}: {reason}; log: {log};"
            f" is {source(settings)} reachable? BRAID_MAVEN names another repository"
        )


def _command(settings: Settings, jar_set: str, ivy: Path, target: Path) -> list[str]:
    jar = next((settings.spark_home / "jars").glob("ivy-*.jar"))
    # without `bundle` and `maven-plugin`, metrics-core, scala-logging and others are missing
    types = ["jar", "bundle", "maven-plugin"]
    return [
        str(require_java(settings) / "bin" / "java"),
        *("-XX:+UseSerialGC", f"-Dbraid.resolver={'mirror' if settings.maven else 'central'}"),
        *(f"-Dbraid.maven={settings.maven.rstrip('/')}/", *proxy_options(dict(os.environ))),
        *("-cp", str(jar), "org.apache.ivy.Main", "-settings", str(settings.local / "ivy" / "settings.xml")),
        *("-cache", str(ivy), "-ivy", str(settings.local / "ivy" / f"{jar_set}.xml"), "-confs", "default"),
        *("-types", *types, "-retrieve", f"{target}/[artifact]-[revision](-[classifier]).[ext]"),
    ]


def source(settings: Settings) -> str:
    """Return where jars come from, for people."""
    return urlsplit(settings.maven).hostname or "Maven Central"


def proxy_options(environ: dict[str, str]) -> list[str]:
    """Return Java's words for the proxy variables that curl and pip obey; Java itself reads none of them.

    Examples
    --------
    >>> proxy_options({"https_proxy": "http://proxy:3128", "no_proxy": "localhost,.local"})
    ['-Dhttps.proxyHost=proxy', '-Dhttps.proxyPort=3128', '-Dhttp.nonProxyHosts=localhost|*.local']
    """
    options: list[str] = []
    for scheme in ("http", "https"):
        url = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme}_proxy".upper())
        parts = urlsplit(url if url and "//" in url else f"//{url or ''}")
        if parts.hostname:
            options += [f"-D{scheme}.proxyHost={parts.hostname}", f"-D{scheme}.proxyPort={parts.port or 80}"]
    without = environ.get("no_proxy") or environ.get("NO_PROXY")
    if options and without:
        hosts = (f"*{host}" if host.startswith(".") else host for host in without.replace(" ", "").split(","))
        options.append(f"-Dhttp.nonProxyHosts={'|'.join(hosts)}")
    return options
