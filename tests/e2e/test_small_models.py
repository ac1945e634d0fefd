"""Attribution of the small models, whose attention is sharp, equals their own float64 attention."""

import calls
import make_models
import numpy as np
import pytest
import rollout_oracle

IDS = [5, 17, 42, 8, 99, 23, 6, 71, 12]
MASKS = {
    "whole": [1] * 9,
    "right": [1] * 6 + [0] * 3,
    "gap": [1, 1, 1, 0, 0, 1, 1, 0, 1],
}
MODELS = (
    "tiny-bert-sdpa",
    "tiny-bert-eager",
    "tiny-gpt2-sdpa",
    "bare-two-inputs",
    "bare-eager",
    "bare-gated",
    "control-flow",
)


@pytest.mark.parametrize("preset", calls.PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_rollout_with_masks(server, model, preset):
    masks = list(MASKS.values())
    reply = calls.attribute(
        server,
        calls.request(
            model,
            [IDS] * len(masks),
            masks,
            options={"preset": calls.PRESETS[preset], "residual_weight": 0.2},
            output={"rollout_matrix": True},
        ),
    )
    attentions = make_models.attentions(model, [IDS] * len(masks), masks)
    for number, mask in enumerate(masks):
        sequence = rollout_oracle.SequenceAttention([layer[number] for layer in attentions], np.array(mask))
        expected = rollout_oracle.rollout(sequence, preset, 0.2)
        np.testing.assert_allclose(reply.matrix(number), expected, atol=1e-5, rtol=0)


def test_model_without_a_mask_input(server):
    sequences = [IDS, IDS[:4], IDS[::-1]]
    reply = calls.attribute(server, calls.request("ids-only", sequences, output={"rollout_matrix": True}))
    for number, ids in enumerate(sequences):
        layers = make_models.attentions("ids-only", [ids], [[1] * len(ids)])
        sequence = rollout_oracle.SequenceAttention([layer[0] for layer in layers], np.ones(len(ids)))
        np.testing.assert_allclose(reply.matrix(number), rollout_oracle.rollout(sequence), atol=1e-5, rtol=0)


def test_loop_counts_its_layers_at_run_time(server):
    reply = calls.attribute(server, calls.request("control-flow", [IDS], output={"layer_metrics": True}))
    assert reply.admitted.num_layers == 3
    assert [layer.layer_idx for layer in reply.all("layer")] == [0, 1, 2]
    assert len({layer.site_index for layer in reply.all("layer")}) == 1
