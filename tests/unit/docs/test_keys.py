"""failoverd.toml(5), held against the options that the configuration is checked with."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest

from failoverd import drivers
from failoverd.core.spec import Restart
from failoverd.daemon import config
from failoverd.daemon.config import keys, schema
from tests.unit.docs.pages import Manual

Pages = dict[str, Manual]

#: The section of the classes of keys of each table.
SECTIONS: dict[tuple[type, ...], str] = {
    keys.NODE: "TABLE [node]",
    keys.KEEPALIVED: "TABLE [keepalived]",
    keys.QUORUM: "TABLE [quorum]",
    keys.FENCE: "TABLE [fence.NODE]",
    keys.HEARTBEAT: "TABLE [heartbeat]",
    keys.ALERT: "TABLE [alert]",
    keys.METRICS: "TABLE [metrics]",
    keys.INSTANCE: "TABLE [instance.NAME]",
    keys.RESOURCE: "TABLE [instance.NAME.resource.NAME]",
    (Restart,): "Table restart",
    **{(drivers.find(name).options,): f"Driver {name}" for name in drivers.names()},
}
ENTRY = re.compile(r"^       (\w+) = (.*), (required|optional|default (.*))\n +(.*)$", re.MULTILINE)
TABLES = pytest.mark.parametrize("table", SECTIONS, ids=SECTIONS.get)


def page(manual: Pages) -> Manual:
    return manual["failoverd.toml.5"]


def fields(table: tuple[type, ...]) -> Iterator[dataclasses.Field[object]]:
    for each in table:
        yield from dataclasses.fields(each)


def plain(default: object) -> object:
    """`default` in the types that TOML has."""
    return default.value if isinstance(default, Enum) else tuple(default) if isinstance(default, frozenset) else default


def test_every_class_of_options_has_its_section(manual: Pages) -> None:
    declared = {each for _, each in inspect.getmembers(keys, inspect.isclass) if dataclasses.is_dataclass(each)}
    assert declared <= {each for table in SECTIONS for each in table}
    told = {name for name in page(manual).sections if name.startswith(("TABLE", "Table", "Driver"))}
    assert told == {*SECTIONS.values(), "TABLE [peers]"}  # its keys are the names of nodes


@TABLES
def test_every_key_is_told_once(manual: Pages, table: tuple[type, ...]) -> None:
    told = [found[1] for found in ENTRY.finditer(page(manual).sections[SECTIONS[table]])]
    assert told == [field.name for field in fields(table)]


@TABLES
def test_every_key_has_its_default_and_its_meaning(manual: Pages, table: tuple[type, ...]) -> None:
    told = {found[1]: found for found in ENTRY.finditer(page(manual).sections[SECTIONS[table]])}
    for field in fields(table):
        _, _, default, value, text = told[field.name].groups()
        if value is None:
            assert default == ("required" if field.default is dataclasses.MISSING else "optional")
            assert field.default in (dataclasses.MISSING, None)
        else:
            written = tomllib.loads(f"x = {value}")["x"]
            if field.metadata["rules"].get("unit") == "seconds":
                written = schema.seconds(written)
            assert (tuple(written) if isinstance(written, list) else written) == plain(field.default)
        assert text.lower() == f"{field.metadata['doc'].replace('`', '').rstrip('.')}.".lower()


def test_prose_names_keys_that_there_are(manual: Pages) -> None:
    known = {field.name for table in SECTIONS for field in fields(table)}
    keepalived = {"net_namespace", "track_file", "use_vmac", "virtual_ipaddress", "vrrp_instance", "vrrp_sync_group"}
    foreign = keepalived | {"failover_metric", "left_out"}
    assert set(re.findall(r"\*([a-z]+_[a-z_]+)\*", page(manual).source)) <= known | foreign
    assert set(re.findall(r"^\*(\w+)\*:", page(manual).source, re.MULTILINE)) <= known


def test_examples_are_good_configurations(manual: Pages, tmp_path: Path) -> None:
    examples = [each for each in page(manual).examples if "[instance" in each]
    assert len(examples) == 3
    for example in examples:
        (tmp_path / "failoverd.toml").write_text(example, encoding="utf-8")
        for node in ("left", "right", "center"):
            assert config.load(tmp_path / "failoverd.toml", node).core.instances


def test_the_examples_use_every_driver(manual: Pages) -> None:
    assert set(re.findall(r'^driver = "(\w+)"', page(manual).source, re.MULTILINE)) == set(drivers.names())


def test_bird_takes_its_example(manual: Pages, tmp_path: Path) -> None:
    example = next(each for each in page(manual).examples if "filter" in each)
    define = re.search(r"\*(define failover_metric = \d+;)\*", page(manual).source)
    assert define is not None
    (tmp_path / "failoverd.conf").write_text(f"{define[1]}\n", encoding="utf-8")
    example = example.replace("/etc/bird/failoverd.conf", str(tmp_path / "failoverd.conf"))
    (tmp_path / "bird.conf").write_text(f"router id 192.0.2.1;\nprotocol device {{}}\n{example}", encoding="utf-8")
    argv = ["/usr/sbin/bird", "-p", "-c", str(tmp_path / "bird.conf")]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
