"""Kafka's own load programs, fetched once by Ivy at the broker's version and held to `bench/tools.sha256`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from bench.lab import CHECKOUT, Failed, say
from braid.adapters.environment import require_java
from braid.errors import JarRefused
from braid.settings import Settings
from stack import ivy

_SUMMARY = re.compile(r"(\d+) records sent, ([\d.]+) records/sec.*?([\d.]+) ms avg latency.*?(\d+) ms 99th", re.DOTALL)


def jars(settings: Settings) -> Path:
    """Return the folder of the programs' jars, fetched when they are missing.

    Raises
    ------
    JarRefused
        A jar is not the listed one.
    """
    target = settings.cache / "jars" / "kafka-tools-4.1.2"
    lines = (CHECKOUT / "bench" / "tools.sha256").read_text("ascii").split()
    listed = dict(zip(lines[1::2], lines[::2], strict=True))
    if not all((target / name).exists() for name in listed):
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        ivy.resolve(settings, "tools", aside, say, [])
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    for name, expected in listed.items():
        got = hashlib.sha256((target / name).read_bytes()).hexdigest()
        if got != expected:
            raise JarRefused(f"jars: {target / name}: expected sha256 {expected}, got {got}; remove its folder")
    return target


def perf_test(settings: Settings, topic: str, payloads: Path, records: int) -> dict[str, float]:
    """Run ProducerPerformance with Braid's own settings over a file of payloads; return records a second and latencies."""
    options = {
        "acks": "all", "enable.idempotence": "true", "linger.ms": "5", "batch.size": "262144", "compression.type": "lz4",
        "bootstrap.servers": settings.kafka_bootstrap,
    }  # fmt: skip
    command = [
        str(require_java(settings) / "bin" / "java"), "-Xmx512m",
        f"-Dlog4j2.configurationFile={(settings.local / 'log4j2.properties').as_uri()}",
        "-cp", f"{jars(settings)}/*:{settings.jar_dir('kafka')}/*", "org.apache.kafka.tools.ProducerPerformance",
        "--topic", topic, "--num-records", str(records), "--throughput", "-1", "--payload-file", str(payloads),
        "--producer-props", *(f"{name}={value}" for name, value in options.items()),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    told = _SUMMARY.findall(done.stdout)
    if done.returncode or not told:
        raise Failed(f"ProducerPerformance: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    sent, rate, average, p99 = told[-1]
    return {"records": float(sent), "records_per_s": float(rate), "latency_ms": float(average), "p99_ms": float(p99)}
