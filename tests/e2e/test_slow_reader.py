"""A client that reads slowly, or not at all, costs others nothing and the server little."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time

import calls
import grpc
import load_clients
import measure
import programs
import pytest

SECONDS = float(os.environ.get("ATTRIBUTION_SLOW_READER_SECONDS", "60"))
BYTES_A_SECOND = 1024
WRITABLE_BYTES = 4 << 20  # docs/configuration.md, slow readers
CHUNK_BYTES = 8 * 256 * 256 * 4


@pytest.fixture
def repository(model_repository, tmp_path):
    path = tmp_path / "repository"
    for model in ("tiny-bert-sdpa", "minilm-sdpa"):
        shutil.copytree(model_repository / model, path / model)
    return path


def matrices(model: str, sequences: int, length: int):
    return calls.request(
        model,
        [[2, *([5] * (length - 2)), 3]] * sequences,
        output={"rollout_matrix": True},
        options={"max_chunk_size": 8},
    )


def test_a_reader_that_takes_nothing_is_aborted(binaries, repository, tmp_path):
    with programs.ServerProcess(binaries.server, repository, tmp_path, "--write-stall-timeout", "1s") as server:
        server.wait_until_serving()
        stream = calls.attribution_stub(server).Attribute(
            matrices("tiny-bert-sdpa", 768, 64), timeout=calls.CALL_SECONDS
        )
        assert next(stream).WhichOneof("event") == "admitted"
        deadline = time.monotonic() + calls.CALL_SECONDS
        while "It is given up" not in server.log():
            assert time.monotonic() < deadline, server.log()
        while server.total("attribution_memory_reserved_bytes") != 0:
            assert time.monotonic() < deadline, server.log()
        with pytest.raises(grpc.RpcError) as ended:
            list(stream)
        found = calls.read_failure(ended.value)
        # Read in time, the status follows the message in flight; later the call is cancelled under it.
        assert found.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED), found
        if found.code == grpc.StatusCode.ABORTED:
            assert found.error_info.reason == "SLOW_READER"
        calls.assert_well(server)


def trickle(address: str, bytes_a_second: int, stop: threading.Event) -> tuple[str, threading.Thread]:
    """Listens, and passes one connection on to `address`: requests at once, replies at this rate."""
    host, port = address.split(":")
    listener = socket.create_server((host, 0))

    def forward(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass

    def run() -> None:
        with listener, listener.accept()[0] as client, socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the system takes megabytes
            server.connect((host, int(port)))
            threading.Thread(target=forward, args=(client, server), daemon=True).start()
            try:
                while not stop.wait(0.25):
                    client.sendall(server.recv(bytes_a_second // 4))
            except OSError:
                pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return f"{host}:{listener.getsockname()[1]}", thread


def wait_until_idle(server) -> None:
    """Returns when workers were idle at ten looks in a row."""
    deadline = time.monotonic() + calls.CALL_SECONDS
    idle = 0
    while idle < 10:
        assert time.monotonic() < deadline
        idle = 0 if server.total("attribution_workers_busy") else idle + 1
        threading.Event().wait(0.2)


@pytest.mark.soak
def test_a_slow_reader_does_not_slow_others(binaries, repository, tmp_path):
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        cases = load_clients.make_cases(server, "minilm-sdpa", [(1, 16)] * 4, False, 3)
        load_clients.storm(server.address, cases, 1, 2, 3)  # warm
        calls.attribute(server, matrices("minilm-sdpa", 16, 256))
        rounds: dict[str, list[float]] = {"alone": [], "with": []}
        reserved, growth = 0.0, 0
        for _ in range(2):  # turn about, so that a machine that changes changes both
            rounds["alone"] += load_clients.storm(server.address, cases, 1, 2, SECONDS / 4).seconds
            resident = measure.resident_bytes(server.pid)
            stop = threading.Event()
            address, thread = trickle(server.address, BYTES_A_SECOND, stop)
            with grpc.insecure_channel(address) as channel:
                stub = calls.attribution_service_pb2_grpc.AttributionServiceStub(channel)
                stream = stub.Attribute(matrices("minilm-sdpa", 256, 256), timeout=4 * SECONDS + calls.CALL_SECONDS)
                assert next(stream).WhichOneof("event") == "admitted"
                wait_until_idle(server)  # it waits for its reader
                rounds["with"] += load_clients.storm(server.address, cases, 1, 2, SECONDS / 4).seconds
                reserved = max(reserved, server.total("attribution_memory_reserved_bytes"))
                growth = max(growth, measure.resident_bytes(server.pid) - resident)
                stream.cancel()
            stop.set()
            thread.join()
        p99 = {name: measure.quantile(seconds, 0.99) for name, seconds in rounds.items()}
        p50 = {name: measure.quantile(seconds, 0.50) for name, seconds in rounds.items()}
        print(f"\np99: {p99}\np50: {p50}\nreserved: {reserved / measure.MIB:.1f} MiB")
        print(f"growth of the resident set: {growth / measure.MIB:.1f} MiB")
        assert growth <= WRITABLE_BYTES + CHUNK_BYTES + 16 * measure.MIB
        assert p99["with"] <= 1.2 * p99["alone"]
