"""Requests side by side on one resident model do not disturb each other."""

from concurrent.futures import ThreadPoolExecutor

import calls
import hugging_face
import minilm
import numpy as np
import rollout_oracle

REQUESTS = [
    [[101, 7592, 2088, 102], [101, 3086, 102]],
    [[101, *range(2000, 2040), 102]],
]


def test_two_requests_at_once_are_both_right(server):
    def run(sequences):
        message = calls.request("minilm-sdpa", sequences, output={"rollout_matrix": True})
        return [calls.attribute(server, message) for _ in range(5)]

    with ThreadPoolExecutor(max_workers=len(REQUESTS)) as pool:
        replies = list(pool.map(run, REQUESTS))
    for sequences, repeated in zip(REQUESTS, replies, strict=True):
        for number, ids in enumerate(sequences):
            expected = rollout_oracle.rollout(hugging_face.attention(minilm.model_folder(), ids))
            for reply in repeated:
                np.testing.assert_allclose(reply.matrix(number), expected, atol=1e-5, rtol=0)
    calls.assert_well(server)


def test_a_failing_request_does_not_hurt_its_neighbour(server):
    good = calls.request("throws", [[5, 6, 7]])
    bad = calls.request("throws", [[5, 997, 7]])
    with ThreadPoolExecutor(max_workers=2) as pool:
        failures = pool.submit(
            lambda: [calls.failure(lambda: calls.attribution_stub(server).Attribute(bad)) for _ in range(10)]
        )
        replies = pool.submit(lambda: [calls.attribute(server, good) for _ in range(10)])
        assert all(found.code.name == "INTERNAL" for found in failures.result())
        values = {reply.result.metrics.rollout_entropy for reply in replies.result()}
    assert len(values) == 1
    calls.assert_well(server)
