"""Events come in the documented order and say what was decided."""

import re

import calls
from attribution.v1 import options_pb2

SEQUENCES = [[101, 7592, 102], [101, 7592, 2088, 999, 102], [101, 102]]


def test_order_with_chunks_layers_and_matrices(server):
    reply = calls.attribute(
        server,
        calls.request(
            "minilm-sdpa",
            SEQUENCES,
            options={"max_chunk_size": 1},
            output={"layer_metrics": True, "rollout_matrix": True},
        ),
    )
    kinds = "".join(
        {"admitted": "A", "layer": "L", "chunk": "C", "matrix": "M", "result": "R"}[k] for k in reply.kinds()
    )
    assert re.fullmatch(r"A(L{6}CM+){3}R", kinds), kinds
    assert [chunk.chunk_index for chunk in reply.all("chunk")] == [0, 1, 2]
    assert sum(chunk.num_sequences for chunk in reply.all("chunk")) == 3
    layers = reply.all("layer")
    assert [layer.layer_idx for layer in layers] == list(range(6)) * 3
    assert [layer.chunk_index for layer in layers] == [0] * 6 + [1] * 6 + [2] * 6


def test_admitted_says_what_was_decided(server):
    admitted = calls.attribute(server, calls.request("minilm-sdpa", SEQUENCES)).admitted
    assert admitted.num_layers == 6
    assert admitted.estimated_peak_bytes > 0
    assert admitted.chunk_size >= 1
    assert admitted.num_chunks >= 1
    assert admitted.device == "cpu"
    assert admitted.model_version == "1"
    assert re.fullmatch(r"[0-9a-f]{64}", admitted.model_sha256)


def test_resolved_options_are_echoed(server):
    admitted = calls.attribute(server, calls.request("minilm-sdpa", SEQUENCES)).admitted
    assert admitted.options.preset == options_pb2.PRESET_ABNAR_2020
    assert admitted.options.residual_weight == 0.5
    assert admitted.options.layer_idx == 5
    assert admitted.options.start_layer == 0
    assert admitted.options.end_layer == 5
    assert admitted.options.head_fusion == options_pb2.HEAD_FUSION_MEAN


def test_result_measures_its_memory_and_time(server):
    result = calls.attribute(server, calls.request("minilm-sdpa", SEQUENCES)).result
    assert 0 < result.measured_attention_bytes <= result.measured_peak_bytes
    assert 0 < result.forward_seconds <= result.total_seconds
    assert result.oom_retries == 0
