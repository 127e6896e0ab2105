"""Settings: built from a mapping, and nothing of the machine comes in unasked."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from braid.adapters import environment
from braid.errors import SettingsError
from braid.settings import KNOWN, PortChoice, Ports, Settings

GB = 10**9


def settings(names: dict[str, str] | None = None, **more: Any) -> Settings:
    machine: dict[str, Any] = {
        "root": Path("/src/braid"),
        "python": Path("/venv/bin/python"),
        "spark_home": Path("/venv/pyspark"),
        "user_home": Path("/home/ann"),
        "memory_bytes": 16 * GB,
    }
    return Settings.of(names or {}, **(machine | more))


def test_without_any_name_everything_lies_in_the_checkout_and_the_users_cache():
    s = settings()
    assert (s.home, s.root, s.cache) == (Path("/src/braid/.braid"), Path("/src/braid"), Path("/home/ann/.cache/braid"))
    assert (s.kafka_bootstrap, s.cassandra_port, s.hive_port, s.ports.api) == ("127.0.0.1:9092", 9042, 10000, 5000)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(SettingsError) as caught:
        settings({"BRAID_HOMR": "/x"})
    assert str(caught.value) == f"environment: unknown setting BRAID_HOMR; known are {', '.join(KNOWN)}"
    assert caught.value.exit_code == 2


def test_names_of_others_are_passed_over():
    assert settings({"PATH": "/bin", "BRAIDING": "1", "BRAID_PROGRAM": "kafka"}) == settings()


def test_a_home_may_begin_with_a_tilde_and_is_absolute():
    assert settings({"BRAID_HOME": "~/b"}).home == Path("/home/ann/b")
    assert settings({"BRAID_HOME": "b"}).home == Path.cwd() / "b"


def test_the_cache_obeys_xdg_only_when_absolute():
    assert settings({"XDG_CACHE_HOME": "/var/c"}).cache == Path("/var/c/braid")
    assert settings({"XDG_CACHE_HOME": "c"}).cache == Path("/home/ann/.cache/braid")
    assert settings({"XDG_CACHE_HOME": "/var/c", "BRAID_CACHE": "/k"}).cache == Path("/k")


@pytest.mark.parametrize(
    ("word", "memory", "profile"),
    [
        ("auto", 12 * GB - 1, "small"),
        ("auto", 12 * GB, "normal"),
        ("small", 64 * GB, "small"),
        ("normal", GB, "normal"),
    ],
)
def test_the_small_profile_is_chosen_by_itself_below_12_gb(word: str, memory: int, profile: str):
    assert settings({"BRAID_MEMORY": word}, memory_bytes=memory).profile == profile


def test_small_heaps_are_smaller_in_every_part():
    small, normal = settings({"BRAID_MEMORY": "small"}).heaps, settings({"BRAID_MEMORY": "normal"}).heaps
    assert all(
        getattr(small, name) < getattr(normal, name) for name in ("kafka", "cassandra", "hive", "speed", "batch")
    )
    assert normal.total == 512 + 4 * 1024


def test_another_memory_word_is_refused():
    with pytest.raises(SettingsError, match=r"^BRAID_MEMORY: expected auto, small or normal, got 'tiny'$"):
        settings({"BRAID_MEMORY": "tiny"})


def test_free_ports_are_not_there_before_the_first_up():
    s = settings({"BRAID_PORTS": "free,api=5005"})
    assert s.ports.api == 5005
    with pytest.raises(SettingsError, match=r"no kafka port chosen yet; run `braid up` first$"):
        _ = s.kafka_bootstrap


def test_recorded_ports_win_so_that_later_commands_find_the_stack():
    recorded = Ports.of({"kafka": 19092})
    assert settings({}, recorded=recorded, recorded_mode="free").kafka_bootstrap == "127.0.0.1:19092"
    assert settings({}, recorded=recorded, recorded_mode="free").port_choice == PortChoice("free", {})


@pytest.mark.parametrize("text", ["some", "api=", "api=x", "free,,"])
def test_another_port_word_is_refused(text: str):
    with pytest.raises(SettingsError, match=r"^BRAID_PORTS: expected standard, free or name=number, got "):
        PortChoice.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"), [("web=80", "unknown name 'web'"), ("api=0", "api: expected a number in 1-65535, got 0")]
)
def test_an_unknown_port_or_number_is_refused(text: str, reason: str):
    with pytest.raises(SettingsError, match=reason):
        PortChoice.parse(text)


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        settings().home = Path("/")  # type: ignore[misc]


def test_spark_listens_on_loopback_and_knows_utc_and_ansi():
    conf = settings().spark_conf("speed")
    assert conf["spark.driver.bindAddress"] == conf["spark.driver.host"] == "127.0.0.1"
    assert (conf["spark.sql.session.timeZone"], conf["spark.sql.ansi.enabled"]) == ("UTC", "true")
    assert conf["spark.driver.extraClassPath"] == "/home/ann/.cache/braid/jars/spark-4.2.0/*"
    assert conf["spark.hadoop.fs.file.impl"].endswith("BareLocalFileSystem")
    assert (conf["spark.ui.enabled"], conf["spark.ui.port"]) == ("true", "4040")


def test_each_job_has_its_own_page_and_others_have_none():
    assert settings().spark_conf("batch")["spark.ui.port"] == "4041"
    assert settings().spark_conf("hive")["spark.ui.enabled"] == "false"


def test_the_environment_of_spark_names_our_interpreter_and_java():
    env = settings({}, java_home=Path("/jvm/17")).spark_env()
    assert env["PYSPARK_PYTHON"] == env["PYSPARK_DRIVER_PYTHON"] == "/venv/bin/python"
    assert (env["JAVA_HOME"], env["SPARK_LOCAL_IP"]) == ("/jvm/17", "127.0.0.1")
    assert "JAVA_HOME" not in settings().spark_env()


def fake_java(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").write_text("#!/bin/sh\n")
    (folder / "bin" / "java").chmod(0o755)
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


def test_a_newer_java_in_java_home_or_on_path_does_no_harm(tmp_path: Path):
    new, right = fake_java(tmp_path / "new", "25.0.1"), fake_java(tmp_path / "right", "17.0.2")
    names = {"JAVA_HOME": str(new), "PATH": f"{new / 'bin'}:{right / 'bin'}"}
    found = environment.java_home(names)
    # a Java 17 of this machine may come first; what counts is that the newer one never does
    assert found is not None and environment.java_version(found) == 17


def test_java_home_is_taken_first_when_it_is_a_17(tmp_path: Path):
    right = fake_java(tmp_path / "right", "17.0.2")
    assert environment.java_home({"JAVA_HOME": str(right)}) == right


@pytest.mark.parametrize(("version", "major"), [("17.0.15", 17), ("1.8.0_292", 1), ("25", 25)])
def test_the_version_is_read_without_starting_java(tmp_path: Path, version: str, major: int):
    assert environment.java_version(fake_java(tmp_path / "j", version)) == major


def test_a_folder_without_java_has_no_version(tmp_path: Path):
    assert environment.java_version(tmp_path) is None


def test_a_broken_record_of_ports_names_the_file(tmp_path: Path):
    path = tmp_path / "ports.json"
    assert environment.recorded_ports(path) is None
    path.write_text("{")
    with pytest.raises(SettingsError, match=r"ports\.json: expected the ports of the last `braid up`"):
        environment.recorded_ports(path)
    path.write_text(json.dumps({"asked": "free", "ports": {"kafka": 19092}}))
    assert environment.recorded_ports(path) == (Ports.of({"kafka": 19092}), "free")


def test_load_reads_this_machine_and_the_record(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ports.json").write_text(json.dumps({"asked": "free", "ports": {"kafka": 19092}}))
    s = environment.load({"BRAID_HOME": str(tmp_path)})
    assert (s.home, s.kafka_bootstrap, s.port_choice.mode) == (tmp_path, "127.0.0.1:19092", "free")
    assert (s.root / "datasets").is_dir()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("<settings/>", ""),
        ("<mirror><mirrorOf>central</mirrorOf><url> http://m/x </url></mirror>", "http://m/x"),
        ("<mirror><mirrorOf>spring</mirrorOf><url>http://m/x</url></mirror>", ""),
        ("<!-- <mirror><mirrorOf>*</mirrorOf><url>http://m/x</url></mirror> -->", ""),
    ],
)
def test_the_users_own_maven_mirror_is_obeyed(tmp_path: Path, text: str, url: str):
    (tmp_path / "settings.xml").write_text(text)
    assert environment._maven_mirror(tmp_path / "settings.xml") == url


def test_the_install_command_is_that_of_this_systems_package_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dnf").write_text("#!/bin/sh\n")
    (tmp_path / "dnf").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert environment.install_command("java") == "sudo dnf install -y java-17-openjdk-headless"
    assert environment.install_command("chromium") == "sudo dnf install -y chromium"
