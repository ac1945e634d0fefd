"""Attribution over gRPC equals Hugging Face's eager attention and naive rollout in float64."""

import calls
import hugging_face
import minilm
import numpy as np
import pytest
import rollout_oracle

TOLERANCE = 1e-5
MODELS = ("minilm-sdpa", "minilm-eager")
TEXTS = (
    "Attention flows from token to token.",
    "The quick brown fox jumps over the lazy dog, and nobody minds.",
    "Yes.",
)


def ragged_batch() -> list[list[int]]:
    """Three texts of different lengths and a sequence of one token."""
    tokenizer = hugging_face.tokenizer(minilm.model_folder())
    return [tokenizer(text)["input_ids"] for text in TEXTS] + [[101]]


def oracle(sequences, masks=None) -> list[rollout_oracle.SequenceAttention]:
    masks = masks or [None] * len(sequences)
    folder = minilm.model_folder()
    return [hugging_face.attention(folder, ids, mask) for ids, mask in zip(sequences, masks, strict=True)]


def assert_metrics(got, expected: dict[str, float]) -> None:
    for name in calls.METRIC_FIELDS:
        assert getattr(got, name) == pytest.approx(expected[name], abs=TOLERANCE, rel=0), name


def assert_equals_oracle(server, model, sequences, masks, preset, residual_weight) -> calls.Attribution:
    reply = calls.attribute(
        server,
        calls.request(
            model,
            sequences,
            masks,
            options={"preset": calls.PRESETS[preset], "residual_weight": residual_weight},
            output={"rollout_matrix": True},
        ),
    )
    expected = oracle(sequences, masks)
    assert len(reply.result.sequences) == len(sequences)
    for number, sequence in enumerate(expected):
        assert_metrics(reply.result.sequences[number], rollout_oracle.metrics([sequence], preset, residual_weight))
        matrix = rollout_oracle.rollout(sequence, preset, residual_weight)
        np.testing.assert_allclose(reply.matrix(number), matrix, atol=TOLERANCE, rtol=0)
    assert_metrics(reply.result.metrics, rollout_oracle.metrics(expected, preset, residual_weight))
    return reply


@pytest.mark.parametrize("residual_weight", (0.5, 0.2))
@pytest.mark.parametrize("preset", calls.PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_ragged_batch(server, model, preset, residual_weight):
    assert_equals_oracle(server, model, ragged_batch(), None, preset, residual_weight)


@pytest.mark.parametrize("preset", calls.PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_masks_with_padding_left_right_and_gaps(server, model, preset):
    ids = ragged_batch()[1]
    length = len(ids)
    masks = [
        [1] * (length - 4) + [0] * 4,
        [0] * 3 + [1] * (length - 3),
        [1] * 4 + [0, 0] + [1] * (length - 6),
        [int(position % 3 != 1) for position in range(length)],
    ]
    assert_equals_oracle(server, model, [ids] * len(masks), masks, preset, 0.5)


@pytest.mark.parametrize("model", MODELS)
def test_padding_on_the_right_changes_nothing(server, model):
    ids = ragged_batch()[0]
    output = {"rollout_matrix": True}
    alone = calls.attribute(server, calls.request(model, [ids], output=output))
    padded = calls.attribute(server, calls.request(model, [ids + [0] * 9], [[1] * len(ids) + [0] * 9], output=output))
    for name in calls.METRIC_FIELDS[:-1]:
        got = getattr(padded.result.sequences[0], name)
        assert got == pytest.approx(getattr(alone.result.sequences[0], name), abs=TOLERANCE), name
    assert padded.result.sequences[0].seq_length == len(ids) + 9
    matrix = padded.matrix(0)
    np.testing.assert_allclose(matrix[: len(ids), : len(ids)], alone.matrix(0), atol=TOLERANCE, rtol=0)
    assert not matrix[len(ids) :].any() and not matrix[:, len(ids) :].any()


def test_layer_idx_chooses_the_layer_of_the_attention_metrics(server):
    ids = ragged_batch()[1]
    for layer_idx in (0, 2, -6, -2):
        reply = calls.attribute(server, calls.request("minilm-sdpa", [ids], options={"layer_idx": layer_idx}))
        assert_metrics(reply.result.metrics, rollout_oracle.metrics(oracle([ids]), layer_idx=layer_idx))


@pytest.mark.parametrize("model", MODELS)
def test_chunks_change_nothing(server, model):
    sequences = ragged_batch() * 2
    whole = calls.attribute(server, calls.request(model, sequences))
    for size in (1, 3, 7):
        reply = calls.attribute(server, calls.request(model, sequences, options={"max_chunk_size": size}))
        assert reply.result.num_chunks >= -(-len(sequences) // size)
        for name in calls.METRIC_FIELDS:
            got = getattr(reply.result.metrics, name)
            assert got == pytest.approx(getattr(whole.result.metrics, name), rel=1e-6), (size, name)


def test_one_token_has_no_entropy(server):
    metrics = calls.attribute(server, calls.request("minilm-sdpa", [[101]])).result.metrics
    assert metrics.rollout_entropy == pytest.approx(0, abs=1e-6)
    assert metrics.rollout_max == pytest.approx(1, abs=1e-6)


def test_compute_metrics_gives_the_numbers_of_attribute(server):
    sequences = ragged_batch()
    message = calls.attribution_service_pb2.ComputeMetricsRequest(
        model="minilm-sdpa", tokens=calls.token_batch(sequences)
    )
    reply = calls.attribution_stub(server).ComputeMetrics(message, timeout=calls.CALL_SECONDS)
    assert reply.admitted.num_layers == 6
    assert_metrics(reply.result.metrics, rollout_oracle.metrics(oracle(sequences)))
