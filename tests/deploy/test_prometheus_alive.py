"""A real Prometheus scrapes a real server under load: every query finds data, and alerts fire on real trouble."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from deployment import BUILD, ROOT

pytestmark = pytest.mark.soak

SECONDS = 120.0
LONG_WAIT = re.compile(r"(_seconds:\w+) > 5$")
LONG_WINDOW = re.compile(r"\[\d+[mhd]\]")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition, what: str) -> None:
    """Polls until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.2)


class Prometheus:
    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def query(self, expression: str) -> list[dict]:
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._address}/api/v1/query?{query}", timeout=10) as reply:
            return json.load(reply)["data"]["result"]


def rules() -> list[dict]:
    groups = []
    for path in sorted((ROOT / "deploy/prometheus").glob("*rules*.yaml")):
        groups += yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return groups


def quick_rules() -> list[dict]:
    """The same rules for short times: windows of seconds, and waits a hundredth as long."""
    groups = rules()
    for group in groups:
        for rule in group["rules"]:
            rule["expr"] = LONG_WINDOW.sub("[10s]", rule["expr"]).replace("offset 1h", "offset 1s")
            rule["expr"] = LONG_WAIT.sub(r"\1 > 0.05", rule["expr"])
            if "for" in rule:
                rule["for"] = "1s"
    return groups


def query_of(alert: str) -> str:
    """The query of an alert without its thresholds, so that it has data when all is well."""
    return re.sub(r" [<>]=? [\d.]+| == 0", "", alert)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[dict[str, int]]:
    """A budget that one request of 512 tokens fills (11.3 MB with its margin); others wait."""
    directory = tmp_path_factory.mktemp("server")
    repository = directory / "models"
    shutil.copytree(BUILD / "model-repository/minilm", repository / "minilm")
    port_file = directory / "ports.json"
    flags = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--memory-budget", "11776KiB"]
    command = [BUILD / "bin/attribution-server", "--model-repository", repository, "--port-file", port_file, *flags]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until(port_file.exists, "the port file")
            ports = json.loads(port_file.read_text(encoding="utf-8"))
            until(lambda: cli(ports, "health").returncode == 0, "health")
            yield ports
        finally:
            process.terminate()


def cli(ports: dict[str, int], name: str, *flags: str) -> subprocess.CompletedProcess:
    command = [BUILD / "bin/attribution", name, "--server", f"127.0.0.1:{ports['listen']}", *flags]
    return subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)


@pytest.fixture(scope="module")
def load(server) -> Iterator[None]:
    """Clients with long requests, more than the budget holds; another that gives up, for the cancellations."""
    target = f"127.0.0.1:{server['listen']}"
    command = [BUILD / "bin/attribution", "bench", "--server", target, "--retry"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    many = subprocess.Popen([*command, "--clients", "6", "--shapes", "1x512", "--duration", "300s"], **quiet)
    hasty = subprocess.Popen([*command, "--shapes", "1x512", "--timeout", "60ms", "--duration", "300s"], **quiet)
    yield
    for process in (many, hasty):
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def prometheus(server, load, tmp_path_factory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": quick_rules()}), encoding="utf-8")
    labels = {"namespace": "n", "pod": "p"}
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "attribution",
                "static_configs": [{"targets": [f"127.0.0.1:{server['metrics']}"], "labels": labels}],
            }
        ],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    command = ["prometheus", f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(port)
            until(found.ready, (directory / "log").read_text(encoding="utf-8"))
            yield found
        finally:
            process.terminate()


def dashboard_queries() -> list[str]:
    panels = json.loads((ROOT / "deploy/grafana/attribution.json").read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    for name, value in (("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s")):
        queries = [query.replace(name, value) for query in queries]
    return queries


def autoscaler_queries() -> list[str]:
    path: Path = ROOT / "deploy/kubernetes/overlays/autoscale/adapter-rules.yaml"
    queries = []
    for rule in yaml.safe_load(path.read_text(encoding="utf-8"))["rules"]:
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].split("{")[0])
        queries.append(query.replace("<<.LabelMatchers>>", 'namespace="n"').replace("<<.GroupBy>>", "pod"))
    return queries


def rule_queries() -> list[str]:
    return [query_of(rule["expr"]) for group in quick_rules() for rule in group["rules"]]


def test_every_query_returns_data(prometheus):
    missing = dashboard_queries() + autoscaler_queries() + rule_queries()
    deadline = time.monotonic() + SECONDS
    while missing and time.monotonic() < deadline:
        missing = [query for query in missing if not prometheus.query(query)]
        time.sleep(0.2)
    assert not missing


@pytest.mark.parametrize("alert", ["AttributionBudgetSaturated", "AttributionQueueWait"])
def test_the_alert_fires(prometheus, alert):
    """The clients keep more than the budget reserved, so memory stays full and requests wait."""
    firing = f'ALERTS{{alertstate="firing",alertname="{alert}"}}'
    until(lambda: prometheus.query(firing), firing)
