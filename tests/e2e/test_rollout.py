"""Rollout of attention that the caller sends: numbers, order, refusals, the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import calls
import grpc
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import attribution_service_pb2, input_pb2, options_pb2

PIECE_BYTES = 1 << 20


def sample(layers: int, batch: int, heads: int, length: int) -> np.ndarray:
    """Random attention [L, B, H, S, S] float32."""
    scores = np.random.default_rng(1).normal(size=(layers, batch, heads, length, length)) * 2
    weights = np.exp(scores)
    return (weights / weights.sum(-1, keepdims=True)).astype("<f4")


def oracle(attention: np.ndarray, sequence: int) -> np.ndarray:
    """The rollout of one sequence, [S, S]."""
    layers = list(attention[:, sequence])
    return rollout_oracle.rollout(rollout_oracle.SequenceAttention(layers, np.ones(attention.shape[-1])))


def header(attention: np.ndarray, **fields: object) -> attribution_service_pb2.RolloutRequest:
    layers, batch, heads, length, _ = attention.shape
    return attribution_service_pb2.RolloutRequest(
        header=attribution_service_pb2.RolloutHeader(
            dtype=input_pb2.TENSOR_DTYPE_FLOAT32,
            form=attribution_service_pb2.ATTENTION_FORM_PER_HEAD,
            batch=batch,
            heads=heads,
            seq_length=length,
            num_layers=layers,
            **fields,
        )
    )


def pieces(attention: np.ndarray, size: int = PIECE_BYTES) -> Iterator[attribution_service_pb2.RolloutRequest]:
    for layer, values in enumerate(attention):
        data = values.tobytes()
        for offset in range(0, len(data), size):
            yield attribution_service_pb2.RolloutRequest(
                piece=attribution_service_pb2.RolloutPiece(
                    layer=layer, offset=offset, data=data[offset : offset + size]
                )
            )


def messages(attention: np.ndarray, size: int = PIECE_BYTES, **fields: object):
    yield header(attention, **fields)
    yield from pieces(attention, size)


@pytest.mark.parametrize("size", (100, 4096, PIECE_BYTES))
def test_numbers_are_the_oracles(server, size):
    attention = sample(3, 2, 4, 12)
    output = options_pb2.OutputSelection(layer_metrics=True, rollout_matrix=True, top_k=3)
    replies = list(calls.attribution_stub(server).Rollout(messages(attention, size, output=output), timeout=60))
    kinds = [reply.WhichOneof("event") for reply in replies]
    assert kinds == ["admitted"] + ["layer"] * 3 + ["chunk"] + ["matrix"] * 2 + ["top"] * 2 + ["result"]
    assert replies[0].admitted.num_layers == 3
    assert replies[0].admitted.chunk_size == 2
    for index in range(2):
        expected = oracle(attention, index)
        matrix = next(r.matrix for r in replies if r.HasField("matrix") and r.matrix.sequence_index == index)
        assert np.allclose(np.frombuffer(matrix.data, "<f4").reshape(12, 12), expected, atol=1e-5)
    result = replies[-1].result
    assert 0 < result.measured_peak_bytes <= replies[0].admitted.estimated_peak_bytes
    calls.assert_well(server)


def test_a_large_rollout_is_taken_in_pieces(server):
    attention = sample(2, 1, 2, 700)  # 3.9 MB a layer
    replies = list(calls.attribution_stub(server).Rollout(messages(attention), timeout=60))
    expected = oracle(attention, 0)
    assert replies[-1].result.metrics.rollout_max == pytest.approx(expected.max(), abs=1e-5)


def failure(server, stream) -> calls.Failure:
    return calls.failure(lambda: list(calls.attribution_stub(server).Rollout(stream, timeout=60)))


def test_nan_is_the_callers_error(server):
    attention = sample(2, 1, 2, 8)
    attention[1, 0, 0, 3, 4] = np.nan
    found = failure(server, messages(attention))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "layer 1" in found.message
    calls.assert_well(server)


def test_missing_layers_are_the_callers_error(server):
    attention = sample(2, 1, 2, 8)

    def stream():
        yield header(attention)
        yield from pieces(attention[:1])

    found = failure(server, stream())
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "missing" in found.message


def test_a_rollout_that_never_fits_is_refused_before_its_pieces(server):
    attention = np.broadcast_to(np.zeros((), "<f4"), (1, 4000, 1, 60000, 60000))
    found = failure(server, iter([header(attention)]))
    assert found.code == grpc.StatusCode.FAILED_PRECONDITION
    assert found.error_info.reason == "NEVER_FITS"
    assert int(found.error_info.metadata["max_seq_length_that_fits"]) < 60000


def test_a_cancelled_rollout_gives_its_memory_back(server):
    attention = sample(2, 1, 2, 64)

    def stream():
        yield header(attention)
        yield from pieces(attention[:1])
        call.cancel()

    call = calls.attribution_stub(server).Rollout(stream(), timeout=60)
    with pytest.raises(grpc.RpcError):
        list(call)
    calls.assert_well(server)


def test_command_line(binaries, server, tmp_path):
    attention = sample(3, 2, 2, 6)
    one = tmp_path / "attention.npy"
    np.save(one, attention)
    run = binaries.run("rollout", str(one), "--server", server.address, "--format", "json")
    assert run.returncode == 0, run.stderr
    reply = json.loads(run.stdout)
    expected = oracle(attention, 1)
    assert np.allclose(reply["sequences"][1]["rollout"], expected, atol=1e-5)

    files = []
    for layer, values in enumerate(attention):
        files.append(str(tmp_path / f"layer{layer}.npy"))
        np.save(files[-1], values.astype("<f2"))
    mask = tmp_path / "mask.npy"
    np.save(mask, np.ones((2, 6), dtype="i8"))
    run = binaries.run("rollout", *files, "--mask", str(mask), "--server", server.address)
    assert run.returncode == 0, run.stderr
    assert "Attention of the caller" in run.stdout
