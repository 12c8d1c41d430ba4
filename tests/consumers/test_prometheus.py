"""What Prometheus, promtool and node_exporter make of failoverd's figures, its rules and its dashboard."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.metrics.measured_daemon import MeasuredDaemon
from tests.unit.daemon.running_daemon import wait_for
from tests.unit.examples.test_prometheus import DASHBOARD, MONITORING

HERE = Path(__file__).parent


def promtool(*words: str, given: str = "", directory: Path | None = None) -> str:
    """Its output; it must be content."""
    argv = ["promtool", *words]
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60, check=False, cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def get(port: int, path: str) -> str:
    """What a server on this machine answers; empty: nothing yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running(argv: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MeasuredDaemon]:
    """A daemon that has seen all kinds of things."""
    made = MeasuredDaemon(tmp_path)
    made.instance(body='vips = ["192.0.2.77/32 dev lo"]\nvip_timeout = 0.1')
    made.resource("disk")
    made.instance("VI_2")
    made.resource("web", instance="VI_2")
    made.resource("vpn", instance="VI_2", activate=["false"], body='retries = 0\non_failure = "continue"')
    made.start()
    made.hook("MASTER", "VI_1")
    made.until("refused", "VI_1")
    made.hook("MASTER", "VI_2")
    made.until("active", "VI_2")
    yield made
    made.end()


def test_promtool_takes_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    for file in (MONITORING / "failoverd-rules.yml", HERE / "failoverd-rules-test.yml"):
        shutil.copy(file, tmp_path)
    promtool("check", "rules", "failoverd-rules.yml", directory=tmp_path)
    promtool("test", "rules", "failoverd-rules-test.yml", directory=tmp_path)


def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "failoverd-rules.yml"):
        shutil.copy(MONITORING / name, tmp_path)
    promtool("check", "config", "prometheus.yml", directory=tmp_path)


def test_promtool_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{panel['id']}:{target['refId']}", "expr": target["expr"]}
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", str(file))


def test_promtool_takes_the_figures(node: MeasuredDaemon) -> None:
    assert promtool("check", "metrics", given=node.scrape().text) == ""


def test_a_real_prometheus_has_the_series_and_fires_the_alert(node: MeasuredDaemon, tmp_path: Path) -> None:
    port = free_port()
    shutil.copy(MONITORING / "failoverd-rules.yml", tmp_path)
    text = (MONITORING / "prometheus.yml").read_text().replace("127.0.0.1:9705", f"127.0.0.1:{node.port}")
    config = tmp_path / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{text}")
    argv = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    argv += [f"--web.listen-address=127.0.0.1:{port}"]

    def asked(path: str, **query: str) -> Any:
        answer = get(port, f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        return json.loads(answer)["data"] if answer.startswith("{") else None

    def values(query: str) -> dict[str, str]:
        found = asked("query", query=query)
        return {each["metric"].get("vrrp_instance", ""): each["value"][1] for each in found["result"]} if found else {}

    with running(argv, tmp_path / "prometheus.log"):
        active = 'failoverd_instance_phase{phase="active"}'
        wait_for("it has the phases", lambda: values(active) == {"VI_1": "0", "VI_2": "1"})
        scraped = asked("label/__name__/values")
        assert {name for name in scraped if name.startswith("failoverd_")} >= named_in(node.scrape().text)
        assert "exported_instance" not in asked("labels")
        wait_for("it has evaluated the rules", lambda: values('ALERTS{alertname="FailoverdFailed"}') == {"VI_1": "1"})
        rules = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        node.hook("BACKUP", "VI_2")
        wait_for("it has the change", lambda: values(active) == {"VI_1": "0", "VI_2": "0"})


def test_node_exporter_serves_the_file(node: MeasuredDaemon, tmp_path: Path) -> None:
    port = free_port()
    argv = ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"]
    argv += [f"--collector.textfile.directory={node.file.parent}", f"--web.listen-address=127.0.0.1:{port}"]
    with running(argv, tmp_path / "node_exporter.log"):
        names = named_in(node.scrape().text)
        wait_for("it serves them all", lambda: named_in(get(port, "/metrics")) == names)
        assert "node_textfile_scrape_error 0" in get(port, "/metrics")
        node.stop()
        wait_for("they end with failoverd", lambda: (text := get(port, "/metrics")) and not named_in(text))


def named_in(text: str) -> set[str]:
    return set(re.findall(r"^(failoverd_\w+)", text, re.MULTILINE))
