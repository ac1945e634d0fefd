"""Starts the built programs and waits for them without guessing times."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 120.0


@dataclass(frozen=True)
class Binaries:
    """Paths of the programs."""

    server: Path
    command: Path

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs the command line client to its end."""
        return subprocess.run(
            [str(self.command), *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )


@dataclass(frozen=True)
class Sample:
    """One line of /metrics."""

    labels: dict[str, str]
    value: float


class ServerProcess:
    """An attribution-server on free ports, killed at the end of the `with` block if it still runs.

    Tells its ports by `--port-file`: JSON {"listen": N, "metrics": N}, renamed into place once both are bound.
    """

    def __init__(self, binary: Path, repository: Path, directory: Path, *flags: str) -> None:
        self._port_file = directory / "ports.json"
        self._log_file = directory / "server.log"
        arguments = ["--model-repository", repository, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
        arguments += ["--port-file", self._port_file, *flags]
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen([str(part) for part in (binary, *arguments)], stdout=log, stderr=log)
        self.channel: grpc.Channel | None = None
        self.address = ""
        self.metrics_address = ""

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.channel is not None:
            self.channel.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """What the server has written so far."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def wait_until_serving(self) -> None:
        """Returns when the overall health is SERVING; fails with the log if the process ends or time is up."""
        deadline = time.monotonic() + START_SECONDS
        while not self._port_file.exists():
            try:
                code = self._process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, f"no port file after {START_SECONDS} s:\n{self.log()}"
                continue
            raise AssertionError(f"the server ended with {code} before it served:\n{self.log()}")
        ports = json.loads(self._port_file.read_text(encoding="utf-8"))
        self.address = f"127.0.0.1:{ports['listen']}"
        self.metrics_address = f"127.0.0.1:{ports['metrics']}"
        self.channel = grpc.insecure_channel(self.address)
        self.wait_for_health("", health_pb2.HealthCheckResponse.SERVING, deadline - time.monotonic())

    def wait_for_health(self, service: str, status: int, timeout: float) -> None:
        """Watches a health name until it has `status`."""
        watch = health_pb2_grpc.HealthStub(self.channel).Watch(
            health_pb2.HealthCheckRequest(service=service), timeout=timeout
        )
        try:
            for response in watch:
                if response.status == status:
                    return
        except grpc.RpcError as error:
            raise AssertionError(f"health of {service!r}: {error}\n{self.log()}") from error
        finally:
            watch.cancel()
        raise AssertionError(f"the health watch of {service!r} ended\n{self.log()}")

    def signal_termination(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 60.0) -> int:
        """Waits for the end and returns the exit code."""
        return self._process.wait(timeout=timeout)

    def terminate(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.signal_termination()
        return self.wait()

    def scrape(self) -> str:
        """The text of /metrics."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as reply:
            return reply.read().decode()

    def samples(self, name: str) -> list[Sample]:
        """The samples of one metric; a histogram is read by its `_count` or `_sum`."""
        found = []
        for line in self.scrape().splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                found.append(Sample(labels, float(match[3])))
        return found

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of one metric that carry `labels`."""
        chosen = [sample for sample in self.samples(name) if labels.items() <= sample.labels.items()]
        assert chosen, f"no sample of {name} with {labels}"
        return sum(sample.value for sample in chosen)
