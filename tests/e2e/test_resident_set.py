"""Many small requests leave nothing behind in memory."""

from __future__ import annotations

import os
import random
import shutil
import threading

import calls
import grpc
import measure
import programs
import pytest

COUNT = int(os.environ.get("ATTRIBUTION_SMALL_REQUESTS", "100000"))
MODEL = "tiny-bert-sdpa"
IN_FLIGHT = 32
LONGEST = 64


def send(server, count: int, seed: int) -> None:
    """Sends `count` ComputeMetrics of one sequence of random length, many in flight."""
    draw = random.Random(seed)
    stub = calls.attribution_stub(server)
    free = threading.Semaphore(IN_FLIGHT)
    failures: list[grpc.RpcError] = []

    def done(future: grpc.Future) -> None:
        if future.code() != grpc.StatusCode.OK:
            failures.append(future.exception())
        free.release()

    for _ in range(count):
        ids = [2, *(draw.randint(5, 99) for _ in range(draw.randint(1, LONGEST - 2))), 3]
        message = calls.attribution_service_pb2.ComputeMetricsRequest(model=MODEL, tokens=calls.token_batch([ids]))
        free.acquire()
        stub.ComputeMetrics.future(message, timeout=calls.CALL_SECONDS).add_done_callback(done)
    for _ in range(IN_FLIGHT):
        free.acquire()
    assert not failures, failures[0]


def growth(binaries, model_repository, tmp_path, first: int, last: int) -> float:
    """How much more of the process is in memory after `last` requests than after `first`, as a share."""
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / MODEL, repository / MODEL)
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        send(server, first, 1)
        early = measure.resident_bytes(server.pid)
        send(server, last - first, 2)
        late = measure.resident_bytes(server.pid)
        print(f"\nafter {first}: {early / measure.MIB:.1f} MiB, after {last}: {late / measure.MIB:.1f} MiB")
        assert server.total("attribution_memory_reserved_bytes") == 0
        assert server.total("attribution_requests_total", outcome="ok") == last
    return late / early - 1


def test_a_few_hundred_small_requests_are_answered(binaries, model_repository, tmp_path):
    growth(binaries, model_repository, tmp_path, 100, 300)


@pytest.mark.soak
@pytest.mark.parametrize(("first", "last"), ((COUNT // 100, COUNT * 6 // 100), (COUNT // 10, COUNT)))
def test_the_resident_set_stays(binaries, model_repository, tmp_path, first, last):
    assert abs(growth(binaries, model_repository, tmp_path, first, last)) <= 0.03
