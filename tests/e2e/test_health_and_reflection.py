"""Health names and server reflection, the latter through `buf curl`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICES = ("attribution.v1.AttributionService", "attribution.v1.ModelService", "grpc.health.v1.Health")


def check(server, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(server.channel).Check(request, timeout=10).status


@pytest.mark.parametrize("service", ("", "liveness", "model/minilm-sdpa", "model/tiny-bert-eager", *SERVICES[:2]))
def test_serving(server, service):
    assert check(server, service) == SERVING


def test_broken_model_is_not_serving(server):
    assert check(server, "model/broken") == health_pb2.HealthCheckResponse.NOT_SERVING


def test_unknown_name(server):
    with pytest.raises(grpc.RpcError) as raised:
        check(server, "model/no-such-model")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def buf_curl(*arguments: str) -> str:
    buf = Path(sys.executable).parent / "buf"
    program = str(buf) if buf.exists() else shutil.which("buf")
    assert program, "buf is not installed"
    run = subprocess.run(
        [program, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_reflection_lists_every_service(server):
    listed = buf_curl("--list-services", f"http://{server.address}").split()
    assert set(SERVICES) <= set(listed)


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_resolves_every_service(server, service):
    methods = buf_curl("--list-methods", f"http://{server.address}")
    assert f"{service}/" in methods


def test_call_by_reflection(server):
    reply = buf_curl(
        "--data", '{"model": "minilm-sdpa"}', f"http://{server.address}/attribution.v1.ModelService/GetModel"
    )
    model = json.loads(reply)["model"]
    assert model["name"] == "minilm-sdpa"
    assert model["state"] == "MODEL_STATE_SERVING"
    assert len(model["sites"]) == 6
