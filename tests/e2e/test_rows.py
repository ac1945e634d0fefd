"""Chosen rows without the matrix equal a naive float64 rollout, and the reply says how they were computed."""

import calls
import hugging_face
import make_models
import minilm
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import events_pb2, options_pb2

Rows = options_pb2.RowSelection
FULL_MATRIX = events_pb2.ROLLOUT_METHOD_FULL_MATRIX
SELECTED_ROWS = events_pb2.ROLLOUT_METHOD_SELECTED_ROWS

# Long enough for the planner to take rows alone. Masks: the whole sequence, one cut off on the right, one with a gap
# and left padding.
LENGTHS = (30, 24, 28)
IDS = [[2, *(4 + (7 * i + 13 * number) % 90 for i in range(length - 1))] for number, length in enumerate(LENGTHS)]
MASKS = [None, [1] * 20 + [0] * 4, [0, 1, 1, 0, *[1] * 23, 0]]
SELECTIONS = {
    "first": {"kind": Rows.KIND_FIRST_VALID},
    "last": {"kind": Rows.KIND_LAST_VALID},
    "indices": {"kind": Rows.KIND_INDICES, "indices": [4, 1]},
}


def oracle(model: str) -> list[rollout_oracle.SequenceAttention]:
    """True attention of each sequence, run alone."""
    sequences = []
    for ids, own_mask in zip(IDS, MASKS, strict=True):
        mask = own_mask or [1] * len(ids)
        if model.startswith("minilm"):
            sequences.append(hugging_face.attention(minilm.model_folder(), ids, mask))
        else:
            layers = make_models.attentions(model, [ids], [mask])
            sequences.append(rollout_oracle.SequenceAttention([layer[0] for layer in layers], np.array(mask)))
    return sequences


def attribute(server, model, selection, options=None, output=None) -> calls.Attribution:
    """Asks for chosen rows and nothing that needs the matrix, unless `output` does."""
    wanted = {"rollout_matrix": True, "skip_rollout_metrics": True, "rows": selection} | (output or {})
    reply = calls.attribute(server, calls.request(model, IDS, MASKS, options=options or {}, output=wanted))
    calls.assert_within_reservation(reply)
    return reply


def numbers_of(selection: dict, mask: np.ndarray) -> list[int]:
    valid = [int(position) for position in np.flatnonzero(mask)]
    return {
        Rows.KIND_FIRST_VALID: valid[:1],
        Rows.KIND_LAST_VALID: valid[-1:],
        Rows.KIND_INDICES: sorted(selection.get("indices", [])),
    }[selection["kind"]]


def assert_rows(reply: calls.Attribution, number: int, expected: np.ndarray, numbers: list[int]) -> None:
    rows = reply.rows(number)
    assert list(rows) == numbers
    for row in numbers:
        np.testing.assert_allclose(rows[row], expected[row], atol=1e-5, rtol=0, err_msg=f"row {row}")


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("preset", rollout_oracle.PRESETS)
@pytest.mark.parametrize("model", ("tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa", "minilm-sdpa"))
def test_rows_of_every_preset_equal_the_oracle(server, model, preset, selection):
    options = {"preset": "PRESET_" + preset, "residual_weight": 0.3}
    reply = attribute(server, model, SELECTIONS[selection], options)
    assert reply.admitted.rollout_method == SELECTED_ROWS
    for number, sequence in enumerate(oracle(model)):
        expected = rollout_oracle.rollout(sequence, preset, residual_weight=0.3)
        assert_rows(reply, number, expected, numbers_of(SELECTIONS[selection], sequence.mask))


@pytest.mark.parametrize("preset", ("ABNAR_2020", "ICLR_METRICS", "VIT_EXPLAIN"))
def test_range_of_layers_and_discarding(server, preset):
    options = {"preset": "PRESET_" + preset, "start_layer": 1, "end_layer": 4, "discard_ratio": 0.4}
    reply = attribute(server, "minilm-sdpa", SELECTIONS["last"], options)
    for number, sequence in enumerate(oracle("minilm-sdpa")):
        expected = rollout_oracle.rollout(sequence.between(1, 4), preset, discard_ratio=0.4)
        assert_rows(reply, number, expected, numbers_of(SELECTIONS["last"], sequence.mask))


@pytest.mark.parametrize("preset", ("ABNAR_2020", "ICLR_METRICS"))
def test_one_layer(server, preset):
    options = {"preset": "PRESET_" + preset, "start_layer": 2, "end_layer": 2}
    reply = attribute(server, "minilm-sdpa", SELECTIONS["indices"], options)
    for number, sequence in enumerate(oracle("minilm-sdpa")):
        assert_rows(reply, number, rollout_oracle.rollout(sequence.between(2, 2), preset), [1, 4])


@pytest.mark.parametrize("preset", ("ABNAR_2020", "ICLR_METRICS"))
def test_with_padding_the_rows_equal_those_of_the_matrix(server, preset):
    options = {"preset": "PRESET_" + preset, "include_padding": True}
    reply = attribute(server, "minilm-sdpa", SELECTIONS["first"], options)
    whole = attribute(server, "minilm-sdpa", {}, options)
    assert whole.admitted.rollout_method == FULL_MATRIX
    for number in range(len(IDS)):
        ((row, cells),) = reply.rows(number).items()
        np.testing.assert_allclose(cells, whole.matrix(number)[row], atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk_size", (0, 1, 2))
def test_other_answers_are_those_of_the_full_way(server, chunk_size):
    """Metrics of the attention, of the layers, and the layers' own rows."""
    options = {"max_chunk_size": chunk_size}
    output = {"layer_metrics": True, "layer_matrices": True}
    reply = attribute(server, "minilm-sdpa", SELECTIONS["last"], options, output)
    full = attribute(server, "minilm-sdpa", SELECTIONS["last"], options, output | {"skip_rollout_metrics": False})
    assert reply.admitted.rollout_method == SELECTED_ROWS
    assert full.admitted.rollout_method == FULL_MATRIX
    for got, wanted in zip(reply.result.sequences, full.result.sequences, strict=True):
        for name in rollout_oracle.LAYER_FIELDS:
            assert getattr(got, name) == pytest.approx(getattr(wanted, name), rel=1e-6)
        for name in rollout_oracle.ROLLOUT_FIELDS:
            assert wanted.HasField(name)
            assert not got.HasField(name)
    assert len(reply.result.layers) == len(full.result.layers) == 6
    layer = events_pb2.MATRIX_KIND_LAYER_ATTENTION
    for number in range(len(IDS)):
        for matrix in ((number,), *((number, layer, index) for index in range(6))):
            got, wanted = reply.rows(*matrix), full.rows(*matrix)
            assert list(got) == list(wanted)
            for row in got:
                np.testing.assert_allclose(got[row], wanted[row], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "output",
    ({"skip_rollout_metrics": False}, {"top_k": 3}, {"rows": {}}),
    ids=("metrics of the rollout", "its largest cells", "every row"),
)
def test_what_needs_every_row_is_computed_from_the_matrix(server, output):
    reply = attribute(server, "tiny-bert-sdpa", SELECTIONS["last"], output=output)
    assert reply.admitted.rollout_method == FULL_MATRIX


def test_planner_takes_the_matrix_where_nearly_every_row_is_wanted(server):
    length = 300
    ids = [101, *(1000 + 7 * position for position in range(length - 2)), 102]
    output = {"rollout_matrix": True, "skip_rollout_metrics": True}
    expected = rollout_oracle.rollout(hugging_face.attention(minilm.model_folder(), ids))
    for selection, numbers, method in (
        (SELECTIONS["last"], [length - 1], SELECTED_ROWS),
        ({"kind": Rows.KIND_INDICES, "indices": list(range(1, length))}, list(range(1, length)), FULL_MATRIX),
    ):
        wanted = output | {"rows": selection}
        reply = calls.attribute(server, calls.request("minilm-sdpa", [ids], output=wanted))
        assert reply.admitted.rollout_method == method
        calls.assert_within_reservation(reply)
        assert_rows(reply, 0, expected, numbers)
