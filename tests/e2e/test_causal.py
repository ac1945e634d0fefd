"""Corrected rollouts over gRPC equal their formulas in float64, for a causal and a bidirectional model."""

import calls
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import events_pb2, options_pb2
from test_output import IDS, MASKS, oracle

CORRECTED = events_pb2.MATRIX_KIND_CORRECTED
CORRECTIONS = {
    "uniform-ratio": options_pb2.CAUSAL_CORRECTION_UNIFORM_RATIO,
    "drop-first": options_pb2.CAUSAL_CORRECTION_DROP_FIRST,
}


@pytest.mark.parametrize("chunk_size", (0, 1))
@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("model", ("tiny-bert-sdpa", "tiny-gpt2-sdpa"))
def test_corrected_rollout(server, model, correction, chunk_size):
    options = {"causal_correction": CORRECTIONS[correction], "max_chunk_size": chunk_size}
    message = calls.request(model, IDS, MASKS, options=options, output={"rollout_matrix": True})
    reply = calls.attribute(server, message)
    calls.assert_within_reservation(reply)
    entropies, largest = [], []
    for number, sequence in enumerate(oracle(model)):
        expected = rollout_oracle.corrected_rollout(sequence, correction)
        rows = reply.rows(number, CORRECTED)
        got = np.array([rows[row] for row in range(len(sequence.mask))])
        np.testing.assert_allclose(got, expected, atol=2e-5, rtol=0)
        valid = expected[np.flatnonzero(sequence.mask)]
        entropies.extend(-(valid * np.log(np.maximum(valid, 1e-12))).sum(axis=1))
        largest.append(valid.max())
    corrected = reply.result.corrected
    assert corrected.rollout_max == pytest.approx(max(largest), abs=2e-5)
    assert corrected.rollout_entropy == pytest.approx(np.mean(entropies), abs=2e-5)
    assert not corrected.HasField("mean_attention")
    assert corrected.batch_size == len(IDS)


def test_nothing_is_corrected_unless_asked(server):
    reply = calls.attribute(server, calls.request("tiny-gpt2-sdpa", IDS, MASKS, output={"rollout_matrix": True}))
    assert not reply.result.HasField("corrected")
    assert not reply.slices(0, CORRECTED)
