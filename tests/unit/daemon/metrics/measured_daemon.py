"""A real daemon whose figures are at a port and in a file."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from pathlib import Path

from tests.unit.daemon.metrics.parsed import Parsed
from tests.unit.daemon.running_daemon import ROOT, RunningDaemon


class MeasuredDaemon(RunningDaemon):
    """A daemon with metrics, in the sandbox of its unit."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.file = directory / "failoverd.prom"
        listen = json.dumps(f"127.0.0.1:{self.port}")
        self.tables.append(f"[metrics]\nlisten = {listen}\nfile = {json.dumps(str(self.file))}\n")

    def words(self) -> list[str]:
        if os.geteuid() != 0:
            return super().words()
        confined = ROOT / "tests" / "unit" / "systemd" / "confined.py"
        return [sys.executable, str(confined), str(ROOT / "systemd" / "failoverd.service"), *super().words()]

    def scrape(self) -> Parsed:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            return Parsed(connection.getresponse().read())
        finally:
            connection.close()

    def serves(self) -> bool:
        try:
            self.scrape()
        except OSError:
            return False
        return True
