"""Per-layer metrics and per-layer matrices."""

import calls
import hugging_face
import minilm
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import events_pb2

IDS = [[101, 7592, 2088, 999, 102], [101, 3086, 6223, 2013, 19204, 2000, 19204, 102]]
PATHS = [f"encoder.layer.{number}.attention.self" for number in range(6)]


def oracle() -> list[rollout_oracle.SequenceAttention]:
    return [hugging_face.attention(minilm.model_folder(), ids) for ids in IDS]


def assert_layer(got, expected) -> None:
    for name in rollout_oracle.LAYER_FIELDS:
        assert getattr(got, name) == pytest.approx(expected[name], abs=1e-5), name
    assert got.num_rows == expected["num_rows"]
    assert got.num_cells == expected["num_cells"]


@pytest.mark.parametrize("model", ("minilm-sdpa", "minilm-eager"))
def test_every_layer_is_told_with_its_path(server, model):
    reply = calls.attribute(server, calls.request(model, IDS, output={"layer_metrics": True}))
    layers = reply.all("layer")
    assert [layer.layer_idx for layer in layers if layer.chunk_index == 0] == list(range(6))
    for layer, path in zip(layers[:6], PATHS, strict=True):
        assert layer.module_path.endswith(path)


@pytest.mark.parametrize("model", ("minilm-sdpa", "minilm-eager"))
def test_batch_values_of_each_layer(server, model):
    reply = calls.attribute(server, calls.request(model, IDS, output={"layer_metrics": True}))
    assert len(reply.result.layers) == 6
    for number, layer in enumerate(reply.result.layers):
        assert layer.layer_idx == number
        assert layer.chunk_index == -1
        assert_layer(layer, rollout_oracle.layer_statistics(oracle(), number))


def test_layers_of_a_chunk_are_over_its_sequences(server):
    message = calls.request("minilm-sdpa", IDS, options={"max_chunk_size": 1}, output={"layer_metrics": True})
    reply = calls.attribute(server, message)
    first = {chunk.chunk_index: chunk.first_sequence for chunk in reply.all("chunk")}
    assert len(first) == 2
    for layer in reply.all("layer"):
        sequence = oracle()[first[layer.chunk_index]]
        assert_layer(layer, rollout_oracle.layer_statistics([sequence], layer.layer_idx))


def test_pattern_chooses_layers_and_numbers_them_again(server):
    message = calls.request(
        "minilm-sdpa",
        IDS,
        options={"attention_layer_pattern": r"layer\.[135]\."},
        output={"layer_metrics": True, "rollout_matrix": True},
    )
    reply = calls.attribute(server, message)
    assert reply.admitted.num_layers == 3
    assert [layer.layer_idx for layer in reply.result.layers] == [0, 1, 2]
    for number, sequence in enumerate(oracle()):
        chosen = rollout_oracle.SequenceAttention(sequence.layers[1::2], sequence.mask)
        np.testing.assert_allclose(reply.matrix(number), rollout_oracle.rollout(chosen), atol=1e-5, rtol=0)


def test_no_layers_and_no_matrices_unless_asked_for(server):
    reply = calls.attribute(server, calls.request("minilm-sdpa", IDS))
    assert set(reply.kinds()) == {"admitted", "chunk", "result"}
    assert not reply.result.layers


def test_long_matrix_comes_in_slices_of_whole_rows(server):
    ids = [101, *[2000 + number for number in range(510)], 102]
    reply = calls.attribute(server, calls.request("minilm-sdpa", [ids], output={"rollout_matrix": True}))
    slices = reply.all("matrix")
    assert {part.kind for part in slices} == {events_pb2.MATRIX_KIND_ROLLOUT}
    assert all(part.layer_idx == -1 and part.columns == len(ids) for part in slices)
    np.testing.assert_allclose(reply.matrix(0).sum(axis=1), 1, atol=1e-5)
