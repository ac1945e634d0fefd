"""The number of threads is what docs/architecture.md says, whatever clients do."""

from __future__ import annotations

import os
import shutil
import threading

import calls
import grpc
import load_clients
import measure
import programs

MODEL = "tiny-bert-sdpa"
WORKERS = 2
THREADS = 2  # of a worker
REFLECTION_STREAMS = 24


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def bound(tokenizers: int) -> int:
    """The arithmetic of docs/architecture.md, threads."""
    cores = os.cpu_count() or 1
    ours = 1 + 1 + 1 + 1 + 1 + WORKERS * THREADS  # main, intake, timer, device test, loader, workers
    loading = THREADS  # of a model that is loaded
    libraries = 1 + 2 * (1 + tokenizers) + 3  # LibTorch, OpenVINO, metrics
    grpc = clamp(cores, 2, 32) + 1 + clamp(cores // 2, 2, 16) + 4 * cores + 5 + 4
    return ours + loading + libraries + grpc


def test_threads_do_not_depend_on_load(binaries, model_repository, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / MODEL, repository / MODEL)
    flags = ("--workers", str(WORKERS), "--intra-op-threads", str(THREADS))
    with programs.ServerProcess(binaries.server, repository, tmp_path, *flags) as server:
        server.wait_until_serving()
        idle = measure.thread_names(server.pid)
        cases = load_clients.make_cases(server, MODEL, [(1, 8), (4, 16), (8, 32)], False, 9)
        tally = load_clients.storm(server.address, cases, processes=2, clients=32, seconds=2)
        assert not tally.faults, tally.faults[:5]
        held = threading.Event()

        def requests():
            yield b"\x3a\x00"  # list_services
            held.wait(calls.CALL_SECONDS)

        reflect = server.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        streams = [reflect(requests(), timeout=calls.CALL_SECONDS) for _ in range(REFLECTION_STREAMS)]
        answered = sum(1 for stream in streams if answers(stream))
        found = measure.thread_names(server.pid)
        held.set()
        print(f"\nidle {sum(idle.values())}, loaded {sum(found.values())}, bound {bound(0)}: {dict(found)}")
        assert 0 < answered < REFLECTION_STREAMS  # the rest was refused: each takes a thread
        assert sum(found.values()) <= bound(0), found
        calls.assert_well(server)


def answers(stream) -> bool:
    try:
        next(stream)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
        return False
    return True
