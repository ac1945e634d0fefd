"""SIGTERM while clients press: what was admitted is finished, the rest is UNAVAILABLE, and the server exits 0."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import calls
import grpc
import programs
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROUNDS = int(os.environ.get("ATTRIBUTION_SHUTDOWN_ROUNDS", "20"))
CLIENTS = 8
MODEL = "tiny-bert-sdpa"


@pytest.fixture
def repository(model_repository, tmp_path):
    path = tmp_path / "repository"
    shutil.copytree(model_repository / MODEL, path / MODEL)
    return path


def press(stub, message, first_reply) -> tuple[Counter, int]:
    """Sends requests one after the other until one fails; returns codes, and how many were admitted and lost."""
    codes: Counter = Counter()
    lost = 0
    while True:
        admitted = False
        try:
            for event in stub.Attribute(message, timeout=calls.CALL_SECONDS):
                admitted = admitted or event.WhichOneof("event") == "admitted"
        except grpc.RpcError as error:
            codes[error.code().name] += 1
            return codes, lost + admitted
        codes["OK"] += 1
        if not first_reply.is_set():
            first_reply.set()


def stop_under_load(binaries, repository, directory) -> Counter:
    directory.mkdir()
    message = calls.request(MODEL, [[2, 5, 6, 7, 3]] * 32, options={"max_chunk_size": 4})
    with programs.ServerProcess(binaries.server, repository, directory) as server:
        server.wait_until_serving()
        stub = calls.attribution_stub(server)
        first_reply = threading.Event()
        with ThreadPoolExecutor(max_workers=CLIENTS) as pool:
            clients = [pool.submit(press, stub, message, first_reply) for _ in range(CLIENTS)]
            assert first_reply.wait(calls.CALL_SECONDS)
            server.signal_termination()
            results = [client.result() for client in clients]
        assert server.wait() == 0, server.log()
        assert "drained=yes" in server.log()
    codes: Counter = Counter()
    for found, lost in results:
        codes += found
        assert lost == 0, f"an admitted request was lost\n{server.log()}"
    assert set(codes) <= {"OK", "UNAVAILABLE"}, codes
    return codes


def test_sigterm_under_load_loses_nothing(binaries, repository, tmp_path):
    stop_under_load(binaries, repository, tmp_path / "server")


@pytest.mark.soak
def test_sigterm_under_load_again_and_again(binaries, repository, tmp_path):
    total: Counter = Counter()
    for number in range(ROUNDS):
        total += stop_under_load(binaries, repository, tmp_path / f"server-{number}")
    print(f"\n{ROUNDS} stops: {dict(total)}")


def test_requests_after_sigterm_are_told_when_to_come_again(binaries, repository, tmp_path):
    long_message = calls.request(MODEL, [[2, 5, 6, 3]] * 2048, options={"max_chunk_size": 1})
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        stub = calls.attribution_stub(server)
        running = stub.Attribute(long_message, timeout=calls.CALL_SECONDS)
        assert next(running).WhichOneof("event") == "admitted"
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=calls.CALL_SECONDS
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.signal_termination()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.wait_for_health("liveness", health_pb2.HealthCheckResponse.SERVING, calls.CALL_SECONDS)
        # Health changes a moment before the engine refuses; one request at most comes between.
        short = calls.request(MODEL, [[2, 5, 3]])
        refused = None
        while refused is None:
            try:
                list(stub.Attribute(short, timeout=calls.CALL_SECONDS))
            except grpc.RpcError as error:
                refused = calls.read_failure(error)
        assert refused.code == grpc.StatusCode.UNAVAILABLE
        assert refused.retry_seconds is not None, refused
        assert [event.WhichOneof("event") for event in running][-1] == "result"
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.wait() == 0, server.log()


def test_a_slow_reader_gets_the_rest_within_the_drain_time(binaries, repository, tmp_path):
    message = calls.request(MODEL, [[2, *([5] * 60), 3]] * 320, output={"rollout_matrix": True})  # 5 MiB
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        stream = calls.attribution_stub(server).Attribute(message, timeout=calls.CALL_SECONDS)
        assert next(stream).WhichOneof("event") == "admitted"
        server.signal_termination()
        events = [event.WhichOneof("event") for event in stream]
        assert events.count("matrix") == 320
        assert events[-1] == "result"
        assert server.wait() == 0, server.log()


def test_a_taken_port_is_reported_at_once(binaries, repository, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--listen", "--metrics-listen"):
            free = "--metrics-listen" if flag == "--listen" else "--listen"
            arguments = ["--model-repository", repository, flag, address, free, "127.0.0.1:0"]
            run = subprocess.run(
                [str(part) for part in (binaries.server, *arguments)],
                capture_output=True,
                text=True,
                timeout=calls.CALL_SECONDS,
                check=False,
            )
            assert run.returncode == 1
            assert address in run.stderr
