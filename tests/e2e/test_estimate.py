"""Estimate says what admission would decide, and runs nothing."""

import json

import calls
import grpc
from attribution.v1 import attribution_service_pb2, input_pb2, options_pb2


def request(batch: int, length: int, **fields: object) -> attribution_service_pb2.EstimateRequest:
    return attribution_service_pb2.EstimateRequest(model="minilm-sdpa", batch_size=batch, seq_length=length, **fields)


def test_the_estimate_is_that_of_admission(server):
    stub = calls.attribution_stub(server)
    output = options_pb2.OutputSelection(rollout_matrix=True)
    estimate = stub.Estimate(request(2, 16, output=output), timeout=30)
    sequence = input_pb2.TokenSequence(input_ids=[101] + [7592] * 14 + [102])
    run = attribution_service_pb2.AttributeRequest(
        model="minilm-sdpa", tokens=input_pb2.TokenBatch(sequences=[sequence] * 2), output=output
    )
    admitted = next(iter(stub.Attribute(run, timeout=60))).admitted
    assert estimate.estimated_peak_bytes == admitted.estimated_peak_bytes
    assert estimate.chunk_size == admitted.chunk_size
    assert estimate.num_chunks == admitted.num_chunks
    assert estimate.ever_fits
    assert estimate.max_seq_length_that_fits >= 16


def test_more_takes_more(server):
    stub = calls.attribution_stub(server)
    small = stub.Estimate(request(1, 16), timeout=30)
    large = stub.Estimate(request(8, 256), timeout=30)
    assert large.estimated_peak_bytes > small.estimated_peak_bytes


def test_wrong_shapes_and_models_are_refused(server):
    stub = calls.attribution_stub(server)
    found = calls.failure(lambda: stub.Estimate(request(0, 16), timeout=30))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found
    found = calls.failure(lambda: stub.Estimate(request(1, 0), timeout=30))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found
    unknown = attribution_service_pb2.EstimateRequest(model="no-such-model", batch_size=1, seq_length=1)
    found = calls.failure(lambda: stub.Estimate(unknown, timeout=30))
    assert found.code == grpc.StatusCode.NOT_FOUND, found


def test_command_line(binaries, server):
    arguments = ("estimate", "minilm-sdpa", "--batch", "4", "--length", "64", "--server", server.address)
    run = binaries.run(*arguments, "--format", "json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["ever_fits"] is True
    run = binaries.run(*arguments)
    assert run.returncode == 0, run.stderr
    assert "peak memory" in run.stdout
