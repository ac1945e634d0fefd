"""Models come and go while the server runs: nobody's request fails of it, and nothing stays behind in memory."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import threading
import time

import calls
import grpc
import measure
import numpy as np
import programs
import pytest
from attribution.v1 import model_service_pb2 as pb2
from grpc_health.v1 import health_pb2

MODEL = "tiny-bert-sdpa"
IDS = [[2, 17, 35, 60, 3]]  # of every model here
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
RELOADS = int(os.environ.get("ATTRIBUTION_RELOADS", "50"))
CYCLES = int(os.environ.get("ATTRIBUTION_LOAD_CYCLES", "100"))


@pytest.fixture
def small(binaries, repository, tmp_path):
    """A server of one small model."""
    with programs.ServerProcess(binaries.server, repository, tmp_path) as process:
        process.wait_until_serving()
        yield process


def load(server, model=MODEL, **fields):
    return calls.model_stub(server).LoadModel(pb2.LoadModelRequest(model=model, **fields), timeout=60).model


def unload(server, model=MODEL, **fields):
    calls.model_stub(server).UnloadModel(pb2.UnloadModelRequest(model=model, **fields), timeout=60)


def states(server):
    models = calls.model_stub(server).ListModels(pb2.ListModelsRequest(), timeout=60).models
    return {f"{model.name}:{model.version}": pb2.ModelState.Name(model.state)[12:] for model in models}


def entropy(server, model=MODEL):
    return calls.attribute(server, calls.request(model, IDS)).result.metrics.rollout_entropy


def test_unload_and_load(small):
    before = entropy(small)
    unload(small)
    assert states(small) == {f"{MODEL}:1": "UNLOADED"}
    found = calls.failure(lambda: calls.attribute(small, calls.request(MODEL, IDS)))
    assert (found.code, found.error_info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_NOT_LOADED")
    assert small.total("attribution_model_loaded", model=MODEL) == 0
    assert small.total("attribution_model_resident_bytes", model=MODEL) == 0
    small.wait_for_health(f"model/{MODEL}", NOT_SERVING, 10)
    small.wait_for_health("", SERVING, 10)  # the server goes on
    model = load(small)
    assert (model.version, model.state) == ("1", pb2.MODEL_STATE_SERVING)
    assert small.total("attribution_model_loaded", model=MODEL) == 1
    small.wait_for_health(f"model/{MODEL}", SERVING, 10)
    assert entropy(small) == pytest.approx(before, abs=1e-6)


def test_a_new_version_takes_over(small, repository):
    shutil.copytree(repository / MODEL / "1", repository / MODEL / "2")
    assert load(small).version == "2"
    assert states(small) == {f"{MODEL}:1": "UNLOADED", f"{MODEL}:2": "SERVING"}
    assert calls.attribute(small, calls.request(MODEL, IDS)).admitted.model_version == "2"


@pytest.mark.parametrize("name", ("none", "..", "../x", "/etc", "a/b", ""))
def test_unknown_models_are_not_found(small, name):
    for method, kind in (("LoadModel", pb2.LoadModelRequest), ("UnloadModel", pb2.UnloadModelRequest)):
        found = calls.failure(lambda m=method, k=kind: getattr(calls.model_stub(small), m)(k(model=name), timeout=10))
        assert found.code == grpc.StatusCode.NOT_FOUND, found
        assert "/repository" not in found.message


def test_a_broken_bundle_does_not_replace_what_serves(small, repository, model_repository):
    before = entropy(small)
    shutil.copy(model_repository / "broken" / "1" / "model.pt", repository / MODEL / "1" / "model.pt")
    found = calls.failure(lambda: load(small))
    assert (found.code, found.error_info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_LOAD_FAILED")
    assert entropy(small) == pytest.approx(before, abs=1e-6)


def test_command_line(small, binaries, repository):
    shutil.copytree(repository / MODEL / "1", repository / MODEL / "2")
    for arguments, text in (
        (("load", MODEL), "serving"),
        (("load", f"{MODEL}:1", "--force"), "serving"),
        (("unload", f"{MODEL}:1"), ""),
    ):
        done = binaries.run("models", *arguments, "--server", small.address)
        assert done.returncode == 0, done.stderr
        assert text in done.stdout
    assert states(small) == {f"{MODEL}:1": "UNLOADED", f"{MODEL}:2": "SERVING"}
    assert binaries.run("models", "load", "none", "--server", small.address).returncode == 3


def test_the_repository_is_looked_at(binaries, repository, tmp_path):
    with programs.ServerProcess(binaries.server, repository, tmp_path, "--repository-poll-interval", "50ms") as server:
        server.wait_until_serving()
        shutil.copytree(repository / MODEL, tmp_path / "copy")
        (tmp_path / "copy").rename(repository / "later")
        wait_until(lambda: states(server).get("later:1") == "SERVING")
        shutil.rmtree(repository / "later")
        wait_until(lambda: "later:1" not in states(server))
        assert entropy(server) > 0


def test_least_recently_used_gives_way(binaries, repository, server, tmp_path):
    for name in ("b", "c"):
        shutil.copytree(repository / MODEL, repository / name)
    in_memory = calls.model_stub(server).GetModel(pb2.GetModelRequest(model=MODEL), timeout=60).model.resident_bytes
    on_disk = (repository / MODEL / "1" / "model.pt").stat().st_size
    budget = str(in_memory + on_disk + in_memory // 2)  # a second one may be loaded beside the first, no third
    with programs.ServerProcess(binaries.server, repository, tmp_path, "--model-memory-budget", budget) as server:
        server.wait_until_serving()
        assert sorted(states(server).values()) == ["SERVING", "SERVING", "UNLOADED"]
        missing = next(name[:-2] for name, state in states(server).items() if state == "UNLOADED")
        found = calls.failure(lambda: calls.attribute(server, calls.request(missing, IDS)))
        assert (found.code, found.error_info.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING")
        assert found.retry_seconds is not None
        wait_until(lambda: states(server)[f"{missing}:1"] == "SERVING")
        assert sorted(states(server).values()) == ["SERVING", "SERVING", "UNLOADED"]


def wait_until(condition, seconds=30.0):
    """Asks again until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.02)


def test_killed_while_it_loads(binaries, repository, model_repository, tmp_path):
    """What was whole before is whole after, whatever a server was doing when it was killed."""
    shutil.copytree(model_repository / "minilm-sdpa", repository / "minilm-sdpa")
    first = tmp_path / "first"
    first.mkdir()
    with programs.ServerProcess(binaries.server, repository, first) as server:
        server.wait_until_serving()
        loading = calls.model_stub(server).LoadModel.future(
            pb2.LoadModelRequest(model="minilm-sdpa", force=True, unload_first=True), timeout=60
        )
        wait_until(lambda: states(server)["minilm-sdpa:1"] == "LOADING")
        os.kill(server.pid, signal.SIGKILL)
        assert loading.exception() is not None
    second = tmp_path / "second"
    second.mkdir()
    with programs.ServerProcess(binaries.server, repository, second) as server:
        server.wait_until_serving()
        assert states(server) == {"minilm-sdpa:1": "SERVING", f"{MODEL}:1": "SERVING"}
        assert entropy(server) > 0


def reload_under_load(server, reloads, model=MODEL):
    """Reloads while requests run; returns how many were answered, and memory before and after."""
    stop = threading.Event()
    expected = entropy(server, model)
    for _ in range(20):  # what a first load leaves warm is not the reloads'
        entropy(server, model)
    load(server, model, force=True)
    before = measure.resident_bytes(server.pid)

    def ask():
        answers = 0
        while not stop.is_set():
            assert entropy(server, model) == pytest.approx(expected, abs=1e-5)
            answers += 1
        return answers

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for _ in range(reloads):
                assert load(server, model, force=True).state == pb2.MODEL_STATE_SERVING
        finally:
            stop.set()
        answers = sum(future.result() for future in asking)
    after = measure.resident_bytes(server.pid)
    print(f"\n{model}: {reloads} reloads, {answers} answers, resident {before / 2**20:.1f} -> {after / 2**20:.1f} MiB")
    return answers, before, after


def test_reload_without_a_gap(small):
    answers, _, _ = reload_under_load(small, 3)
    assert answers > 0
    assert small.total("attribution_memory_reserved_bytes") == 0


@pytest.mark.soak
@pytest.mark.parametrize("model", (MODEL, "minilm-sdpa"))
def test_reload_under_load_many_times(binaries, model_repository, tmp_path, model):
    repository = tmp_path / "one"
    shutil.copytree(model_repository / model, repository / model)
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        answers, before, after = reload_under_load(server, RELOADS, model)
    assert answers > RELOADS
    assert after <= 1.05 * before


@pytest.mark.soak
@pytest.mark.parametrize("model", (MODEL, "minilm-sdpa"))
def test_load_infer_unload_many_times(binaries, model_repository, tmp_path, model):
    repository = tmp_path / "one"
    shutil.copytree(model_repository / model, repository / model)
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        sizes = []
        for _ in range(CYCLES):
            entropy(server, model)
            unload(server, model)
            sizes.append(measure.resident_bytes(server.pid))
            load(server, model)
    early, late = np.median(sizes[10:15]), np.median(sizes[-5:])
    print(f"\n{model}: unloaded {early / 2**20:.1f} MiB after ten cycles, {late / 2**20:.1f} MiB after {CYCLES}")
    assert abs(late / early - 1) <= 0.05
