"""What the .proto holds and the server does not do yet answers UNIMPLEMENTED and names itself."""

import calls
import grpc
import pytest
from attribution.v1 import model_service_pb2


def assert_unimplemented(found: calls.Failure, name: str) -> None:
    assert found.code == grpc.StatusCode.UNIMPLEMENTED, found
    assert name in found.message
    assert found.error_info is not None


@pytest.mark.parametrize("method", ("LoadModel", "UnloadModel"))
def test_method(server, method):
    models = calls.model_stub(server)
    call = {
        "LoadModel": lambda: models.LoadModel(model_service_pb2.LoadModelRequest(model="minilm-sdpa"), timeout=10),
        "UnloadModel": lambda: models.UnloadModel(
            model_service_pb2.UnloadModelRequest(model="minilm-sdpa"), timeout=10
        ),
    }[method]
    assert_unimplemented(calls.failure(call), method)
    calls.assert_well(server)
