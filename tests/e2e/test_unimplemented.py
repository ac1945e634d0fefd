"""What the .proto holds and the server does not do yet answers UNIMPLEMENTED and names itself."""

import calls
import grpc
import pytest
from attribution.v1 import attribution_service_pb2, model_service_pb2


def assert_unimplemented(found: calls.Failure, name: str) -> None:
    assert found.code == grpc.StatusCode.UNIMPLEMENTED, found
    assert name in found.message
    assert found.error_info is not None


@pytest.mark.parametrize("method", ("Estimate", "Rollout", "LoadModel", "UnloadModel"))
def test_method(server, method):
    attribution, models = calls.attribution_stub(server), calls.model_stub(server)
    call = {
        "Estimate": lambda: attribution.Estimate(
            attribution_service_pb2.EstimateRequest(model="minilm-sdpa", batch_size=1, seq_length=8), timeout=10
        ),
        "Rollout": lambda: attribution.Rollout(
            iter([attribution_service_pb2.RolloutRequest(header={"batch": 1})]), timeout=10
        ),
        "LoadModel": lambda: models.LoadModel(model_service_pb2.LoadModelRequest(model="minilm-sdpa"), timeout=10),
        "UnloadModel": lambda: models.UnloadModel(
            model_service_pb2.UnloadModelRequest(model="minilm-sdpa"), timeout=10
        ),
    }[method]
    assert_unimplemented(calls.failure(call), method)
    calls.assert_well(server)
