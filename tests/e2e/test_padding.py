"""Padding and chunks change no answer, whatever the architecture: positions, windows and masks are its own."""

from __future__ import annotations

import calls
import numpy as np
import pytest
from architecture_oracle import TOLERANCE, ids
from architectures import ARCHITECTURES

pytestmark = pytest.mark.usefixtures("one_thread")
FIRST = [f"{name}-{architecture.attentions[0]}" for name, architecture in ARCHITECTURES.items()]
EAGER = [f"{name}-eager" for name in ("bert", "gpt2", "llama", "modernbert")]
SEQUENCE = ids(15, 6)


def one_by_one(server, bundle, sequences, masks) -> calls.Attribution:
    """The server adds no padding of its own: every sequence is a chunk."""
    options = {"max_chunk_size": 1, "residual_weight": 0.3}
    message = calls.request(bundle, sequences, masks, options=options, output={"rollout_matrix": True})
    return calls.attribute(server, message)


def assert_same(reply, padded: int, where: slice) -> None:
    """Sequence `padded` has the answer of sequence 0 at its valid positions `where`, and zeros around them."""
    matrix = reply.matrix(padded)
    np.testing.assert_allclose(matrix[where, where], reply.matrix(0), atol=TOLERANCE, rtol=0)
    assert np.count_nonzero(matrix) == np.count_nonzero(matrix[where, where])
    alone, own = reply.result.sequences[0], reply.result.sequences[padded]
    for name in calls.METRIC_FIELDS[:6]:
        assert getattr(own, name) == pytest.approx(getattr(alone, name), abs=TOLERANCE, rel=0), name


@pytest.mark.parametrize("bundle", FIRST + EAGER)
def test_on_the_right(architecture_server, bundle):
    """Padded with words, which only the mask tells from the sequence's own."""
    reply = one_by_one(architecture_server, bundle, [SEQUENCE, SEQUENCE + ids(23, 7)], [[1] * 15, [1] * 15 + [0] * 23])
    assert_same(reply, 1, slice(0, 15))


# Position tables counted from the mask (OPT) or from ids that are not padding, which is 1 (RoBERTa, MPNet); positions
# that only their differences matter of, windows included.
FOLLOWING = ("opt-sdpa", "opt-eager", "roberta-sdpa", "mpnet-eager", "gpt-neox-sdpa", "llama-sdpa", "llama-eager")
RELATIVE = ("mistral-sdpa", "qwen3-sdpa", "gemma2-eager", "modernbert-sdpa", "t5-encoder-sdpa", "mistral-frozen")


@pytest.mark.parametrize("bundle", FOLLOWING + RELATIVE)
def test_on_the_left(architecture_server, bundle):
    reply = one_by_one(architecture_server, bundle, [SEQUENCE, [1] * 23 + SEQUENCE], [[1] * 15, [0] * 23 + [1] * 15])
    assert_same(reply, 1, slice(23, 38))


@pytest.mark.parametrize("bundle", ("bert-sdpa", "gpt2-sdpa"))
def test_positions_counted_from_the_start_see_padding_on_the_left(architecture_server, bundle):
    """So the test above is not one that any model passes."""
    reply = one_by_one(architecture_server, bundle, [SEQUENCE, [1] * 23 + SEQUENCE], [[1] * 15, [0] * 23 + [1] * 15])
    assert np.abs(reply.matrix(1)[23:, 23:] - reply.matrix(0)).max() > 100 * TOLERANCE


CHUNKED = ("bert-sdpa", "bert-eager", "gpt2-frozen", "opt-sdpa", "llama-sdpa", "mistral-eager", "modernbert-sdpa")


@pytest.mark.parametrize("bundle", (*CHUNKED, "t5-encoder-sdpa", "deberta-v2-eager"))
def test_chunks_change_nothing(architecture_server, bundle):
    sequences = [ids(length, length) for length in (31, 2, 17, 1, 40, 9, 23, 5, 40, 12)]
    whole = calls.attribute(architecture_server, calls.request(bundle, sequences, output={"layer_metrics": True}))
    assert whole.result.num_chunks == 1
    for size in (1, 3, 7):
        message = calls.request(bundle, sequences, options={"max_chunk_size": size}, output={"layer_metrics": True})
        reply = calls.attribute(architecture_server, message)
        assert reply.result.num_chunks >= -(-len(sequences) // size)
        for name in calls.METRIC_FIELDS:
            expected = pytest.approx(getattr(whole.result.metrics, name), rel=1e-6)
            assert getattr(reply.result.metrics, name) == expected, (size, name)
        for layer, same in zip(reply.result.layers, whole.result.layers, strict=True):
            for name in calls.METRIC_FIELDS[:4]:
                assert getattr(layer, name) == pytest.approx(getattr(same, name), rel=1e-6), (size, name)
