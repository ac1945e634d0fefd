"""Options beyond the preset: fusion of heads, one head, a range of layers, encodings and chunk policies."""

import calls
import hugging_face
import minilm
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import options_pb2

IDS = [[101, 7592, 2088, 999, 102], [101, 3086, 6223, 2013, 19204, 2000, 19204, 102]]


def oracle() -> list[rollout_oracle.SequenceAttention]:
    return [hugging_face.attention(minilm.model_folder(), ids) for ids in IDS]


def assert_rollouts(server, options, expected, tolerance=1e-5, **output):
    message = calls.request("minilm-sdpa", IDS, options=options, output={"rollout_matrix": True, **output})
    reply = calls.attribute(server, message)
    for number, matrix in enumerate(expected):
        np.testing.assert_allclose(reply.matrix(number), matrix, atol=tolerance, rtol=0)
    return reply


@pytest.mark.parametrize(
    ("options", "fusion"),
    (
        ({"head_fusion": options_pb2.HEAD_FUSION_MAX}, lambda heads: heads.max(axis=0)),
        ({"head_fusion": options_pb2.HEAD_FUSION_MIN}, lambda heads: heads.min(axis=0)),
        ({"head": 3}, lambda heads: heads[3]),
    ),
    ids=("max", "min", "head 3"),
)
def test_heads_are_fused_as_asked(server, options, fusion):
    sequences = [sequence.with_fusion(fusion) for sequence in oracle()]
    reply = assert_rollouts(server, options, [rollout_oracle.rollout(sequence) for sequence in sequences])
    expected = rollout_oracle.metrics(sequences)
    for name in rollout_oracle.LAYER_FIELDS + rollout_oracle.ROLLOUT_FIELDS:
        assert getattr(reply.result.metrics, name) == pytest.approx(expected[name], abs=1e-5), name


@pytest.mark.parametrize(("start", "end"), ((1, 3), (2, -1), (-6, -4), (5, 5)))
def test_layers_between_start_and_end(server, start, end):
    sequences = [sequence.between(start % 6, end % 6) for sequence in oracle()]
    options = {"start_layer": start, "end_layer": end, "layer_idx": 0}
    assert_rollouts(server, options, [rollout_oracle.rollout(sequence) for sequence in sequences])


def test_half_precision_encoding(server):
    expected = [rollout_oracle.rollout(sequence) for sequence in oracle()]
    assert_rollouts(server, {}, expected, tolerance=1e-3, encoding=options_pb2.MATRIX_ENCODING_FP16)


def test_reference_chunk_policy_changes_no_number(server):
    options = {"chunk_policy": options_pb2.CHUNK_POLICY_REFERENCE}
    reply = assert_rollouts(server, options, [rollout_oracle.rollout(sequence) for sequence in oracle()])
    assert reply.admitted.options.chunk_policy == options_pb2.CHUNK_POLICY_REFERENCE
