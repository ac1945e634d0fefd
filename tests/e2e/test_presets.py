"""Every preset, discarding and included padding over gRPC equal the naive rollout of Hugging Face's attention."""

import calls
import grpc
import hugging_face
import minilm
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import options_pb2

IDS = [
    [101, 3086, 6223, 2013, 19204, 2000, 19204, 102],
    [101, 7592, 2088, 999, 102],
    [101, 2054, 2515, 1996, 3185, 102],
]
MASKS = [None, [0, 1, 1, 1, 1], None]
LENGTH = max(len(ids) for ids in IDS)
PAD_ID = 0


def preset_number(name: str) -> int:
    return options_pb2.Preset.Value("PRESET_" + name)


def oracle(include_padding: bool) -> list[rollout_oracle.SequenceAttention]:
    """Each sequence as given or, with padding, at the length of the longest."""
    sequences = []
    for ids, mask in zip(IDS, MASKS, strict=True):
        padding = LENGTH - len(ids) if include_padding else 0
        padded_mask = (mask or [1] * len(ids)) + [0] * padding
        attention = hugging_face.attention(minilm.model_folder(), tuple(ids) + (PAD_ID,) * padding, padded_mask)
        sequences.append(attention.with_padding() if include_padding else attention)
    return sequences


def assert_metrics(got, expected: dict[str, float]) -> None:
    for name in calls.METRIC_FIELDS:
        assert getattr(got, name) == pytest.approx(expected[name], abs=1e-5, rel=0), name


@pytest.mark.parametrize("include_padding", (False, True), ids=("valid", "padding"))
@pytest.mark.parametrize("discard_ratio", (None, 0.0, 0.35), ids=("discard unset", "discard 0", "discard 0.35"))
@pytest.mark.parametrize("preset", rollout_oracle.PRESETS)
@pytest.mark.parametrize("model", ("minilm-sdpa", "minilm-eager"))
def test_preset(server, model, preset, discard_ratio, include_padding):
    options = {"preset": preset_number(preset), "residual_weight": 0.3, "include_padding": include_padding}
    if discard_ratio is not None:
        options["discard_ratio"] = discard_ratio
    message = calls.request(model, IDS, MASKS, options=options, output={"rollout_matrix": True})
    reply = calls.attribute(server, message)
    resolved = reply.admitted.options
    assert resolved.preset == preset_number(preset)
    assert resolved.start_layer == rollout_oracle.FIRST_LAYER.get(preset, 0)
    expected_ratio = rollout_oracle.DISCARD_RATIO.get(preset, 0.0) if discard_ratio is None else discard_ratio
    assert resolved.discard_ratio == expected_ratio
    assert resolved.include_padding == include_padding

    sequences = oracle(include_padding)
    for number, sequence in enumerate(sequences):
        expected = rollout_oracle.rollout(sequence, preset, 0.3, discard_ratio)
        np.testing.assert_allclose(reply.matrix(number), expected, atol=1e-5, rtol=0)
        own = rollout_oracle.metrics([sequence], preset, 0.3, discard_ratio=discard_ratio)
        assert_metrics(reply.result.sequences[number], own)
    assert_metrics(reply.result.metrics, rollout_oracle.metrics(sequences, preset, 0.3, discard_ratio=discard_ratio))


@pytest.mark.parametrize("preset", ("ICLR_METRICS", "VIT_EXPLAIN"))
def test_chunks_change_nothing(server, preset):
    def metrics(chunk_size: int):
        options = {"preset": preset_number(preset), "include_padding": True, "max_chunk_size": chunk_size}
        return calls.attribute(server, calls.request("minilm-sdpa", IDS * 2, options=options)).result.metrics

    whole = metrics(len(IDS) * 2)
    for size in (1, 4):
        for name in calls.METRIC_FIELDS:
            assert getattr(metrics(size), name) == pytest.approx(getattr(whole, name), rel=1e-6), (size, name)


def test_chefer_of_one_layer_is_refused(server):
    options = {"preset": options_pb2.PRESET_CHEFER_2021, "attention_layer_pattern": r"\.0\."}
    found = calls.failed_attribute(server, calls.request("minilm-sdpa", IDS, options=options))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert found.bad_fields == ["options.preset"]


def test_padding_cannot_be_included_without_a_mask(server):
    ids = [[5, 6, 7], [5, 6]]
    found = calls.failed_attribute(server, calls.request("ids-only", ids, options={"include_padding": True}))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert found.bad_fields == ["options.include_padding"]


def test_tokens_show_the_padding_that_counts(server):
    message = calls.request("minilm-sdpa", IDS, options={"include_padding": True}, output={"tokens": True})
    tokens = calls.attribute(server, message).admitted.tokens
    assert [list(sequence.input_ids) for sequence in tokens] == [ids + [PAD_ID] * (LENGTH - len(ids)) for ids in IDS]
