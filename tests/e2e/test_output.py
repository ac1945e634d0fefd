"""Chosen rows, layer matrices and largest cells over gRPC equal float64 attention and its naive rollout."""

import re
import shutil

import calls
import grpc
import hugging_face
import make_models
import minilm
import numpy as np
import programs
import pytest
import rollout_oracle
from attribution.v1 import events_pb2, options_pb2

LAYER = events_pb2.MATRIX_KIND_LAYER_ATTENTION
ROLLOUT = events_pb2.MATRIX_KIND_ROLLOUT
FP16 = options_pb2.MATRIX_ENCODING_FP16
Rows = options_pb2.RowSelection

# Ids that every model has. Masks: the whole sequence, one cut off on the right, one with a gap and left padding.
IDS = [[2, 5, 17, 42, 8, 99, 23, 6, 71], [2, 71, 6, 23, 9, 3], [2, 9, 17, 42, 8, 3, 99, 12]]
MASKS = [None, [1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1, 0]]
LAYERS = {"tiny-bert-sdpa": 3, "tiny-gpt2-sdpa": 3, "minilm-sdpa": 6, "minilm-eager": 6}


def oracle(model: str, ids=None, masks=None) -> list[rollout_oracle.SequenceAttention]:
    """True attention of each sequence, run alone."""
    sequences = []
    for own_ids, own_mask in zip(ids or IDS, masks or MASKS, strict=True):
        mask = own_mask or [1] * len(own_ids)
        if model.startswith("minilm"):
            sequences.append(hugging_face.attention(minilm.model_folder(), own_ids, mask))
        else:
            layers = make_models.attentions(model, [own_ids], [mask])
            sequences.append(rollout_oracle.SequenceAttention([layer[0] for layer in layers], np.array(mask)))
    return sequences


def attribute(server, model, output, options=None) -> calls.Attribution:
    reply = calls.attribute(server, calls.request(model, IDS, MASKS, options=options or {}, output=output))
    calls.assert_within_reservation(reply)
    return reply


def wanted_rows(rows: dict, mask: np.ndarray) -> list[int]:
    """The row numbers that a RowSelection names."""
    valid = [int(position) for position in np.flatnonzero(mask)]
    return {
        Rows.KIND_UNSPECIFIED: list(range(len(mask))),
        Rows.KIND_FIRST_VALID: valid[:1],
        Rows.KIND_LAST_VALID: valid[-1:],
        Rows.KIND_INDICES: sorted(set(rows.get("indices", []))),
    }[rows.get("kind", Rows.KIND_UNSPECIFIED)]


def assert_rows(got: dict[int, np.ndarray], expected: np.ndarray, numbers: list[int]) -> None:
    assert list(got) == numbers
    for number in numbers:
        np.testing.assert_allclose(got[number], expected[number], atol=1e-5, rtol=0, err_msg=f"row {number}")


SELECTIONS = {
    "all": {},
    "first": {"kind": Rows.KIND_FIRST_VALID},
    "last": {"kind": Rows.KIND_LAST_VALID},
    "indices": {"kind": Rows.KIND_INDICES, "indices": [4, 1, 2, 4]},
}


@pytest.mark.parametrize("chunk_size", (0, 1))
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("model", LAYERS)
def test_rows_of_rollout_and_layers(server, model, selection, chunk_size):
    rows = SELECTIONS[selection]
    output = {"rollout_matrix": True, "layer_matrices": True, "rows": rows}
    reply = attribute(server, model, output, {"max_chunk_size": chunk_size})
    for number, sequence in enumerate(oracle(model)):
        numbers = wanted_rows(rows, sequence.mask)
        assert_rows(reply.rows(number), rollout_oracle.rollout(sequence), numbers)
        for layer in range(LAYERS[model]):
            assert_rows(reply.rows(number, LAYER, layer), sequence.full(sequence.fused(layer)), numbers)


@pytest.mark.parametrize("preset", ("ICLR_METRICS", "VIT_EXPLAIN"))
def test_rows_of_other_presets(server, preset):
    output = {"rollout_matrix": True, "rows": SELECTIONS["indices"]}
    reply = attribute(server, "minilm-sdpa", output, {"preset": "PRESET_" + preset})
    for number, sequence in enumerate(oracle("minilm-sdpa")):
        assert_rows(reply.rows(number), rollout_oracle.rollout(sequence, preset), [1, 2, 4])
        assert not reply.rows(number, LAYER, 0)


def test_rows_that_are_apart_are_slices_of_their_own(server):
    reply = attribute(server, "minilm-sdpa", {"rollout_matrix": True, "rows": SELECTIONS["indices"]})
    for number, ids in enumerate(IDS):
        shapes = [(part.first_row, part.rows, part.columns) for part in reply.slices(number)]
        assert shapes == [(1, 2, len(ids)), (4, 1, len(ids))]


def test_valid_rows_follow_the_mask_when_padding_is_included(server):
    output = {"rollout_matrix": True, "rows": {"kind": Rows.KIND_LAST_VALID}}
    reply = attribute(server, "minilm-sdpa", output, {"include_padding": True})
    assert [list(reply.rows(number)) for number in range(3)] == [[8], [4], [6]]


@pytest.mark.parametrize(
    ("options", "fusion"),
    (
        ({"head_fusion": options_pb2.HEAD_FUSION_MAX}, lambda heads: heads.max(axis=0)),
        ({"head_fusion": options_pb2.HEAD_FUSION_MIN}, lambda heads: heads.min(axis=0)),
        ({"head": 3}, lambda heads: heads[3]),
    ),
    ids=("max", "min", "head 3"),
)
@pytest.mark.parametrize("model", ("tiny-bert-sdpa", "minilm-sdpa", "minilm-eager"))
def test_layers_are_fused_as_asked_and_not_discarded(server, model, options, fusion):
    # Neither the rollout nor the metrics need the last layers.
    more = {"start_layer": 1, "end_layer": 1, "layer_idx": 0, "discard_ratio": 0.9}
    reply = attribute(server, model, {"layer_matrices": True}, options | more)
    assert {part.kind for part in reply.all("matrix")} == {LAYER}
    for number, sequence in enumerate(oracle(model)):
        fused = sequence.with_fusion(fusion)
        for layer in range(LAYERS[model]):
            expected = fused.full(fused.fused(layer))
            np.testing.assert_allclose(reply.matrix(number, LAYER, layer), expected, atol=1e-5, rtol=0)


def test_layers_are_those_of_the_pattern(server):
    reply = attribute(server, "minilm-sdpa", {"layer_matrices": True}, {"attention_layer_pattern": r"layer\.[24]\."})
    assert {part.layer_idx for part in reply.all("matrix")} == {0, 1}
    sequence = oracle("minilm-sdpa")[0]
    for layer, number in ((0, 2), (1, 4)):
        np.testing.assert_allclose(reply.matrix(0, LAYER, layer), sequence.fused(number), atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", ("tiny-bert-sdpa", "minilm-sdpa", "minilm-eager"))
def test_half_precision_is_single_precision_rounded(server, model):
    output = {"rollout_matrix": True, "layer_matrices": True, "top_k": 5}
    single = attribute(server, model, output)
    half = attribute(server, model, output | {"encoding": FP16})
    assert half.admitted.estimated_peak_bytes < single.admitted.estimated_peak_bytes
    assert all(len(part.data) == part.rows * part.columns * 2 for part in half.all("matrix"))
    for number in range(len(IDS)):
        for matrix in ((ROLLOUT, -1), *((LAYER, layer) for layer in range(LAYERS[model]))):
            expected = single.matrix(number, *matrix).astype(np.float16)
            np.testing.assert_array_equal(half.matrix(number, *matrix), expected)
        assert half.top_cells(number) == single.top_cells(number)


def sorted_cells(matrix: np.ndarray, positions) -> list[tuple[int, int, float]]:
    """Every cell in rows and columns `positions`, largest first, ties by flat index."""
    cells = [(int(row), int(column), float(matrix[row, column])) for row in positions for column in positions]
    return sorted(cells, key=lambda cell: (-cell[2], cell[0], cell[1]))


# With residual weight 1 the rollout is the identity: every cell has many equals. A causal one is half zeros.
@pytest.mark.parametrize("top_k", (1, 12, 1000000))
@pytest.mark.parametrize("residual_weight", (0.5, 1.0))
@pytest.mark.parametrize("model", ("tiny-bert-sdpa", "tiny-gpt2-sdpa", "minilm-sdpa"))
def test_top_cells(server, model, residual_weight, top_k):
    output = {"rollout_matrix": True, "top_k": top_k}
    reply = attribute(server, model, output, {"residual_weight": residual_weight, "max_chunk_size": 2})
    for number, sequence in enumerate(oracle(model)):
        got = reply.top_cells(number)
        assert got == sorted_cells(reply.matrix(number), sequence.positions())[:top_k]
        expected = rollout_oracle.rollout(sequence, residual_weight=residual_weight)
        values = [value for _, _, value in sorted_cells(expected, sequence.positions())[:top_k]]
        np.testing.assert_allclose([value for _, _, value in got], values, atol=1e-5, rtol=0)


def test_top_cells_need_no_matrix_and_see_every_row(server):
    alone = attribute(server, "minilm-sdpa", {"top_k": 7})
    assert not alone.all("matrix")
    beside = attribute(server, "minilm-sdpa", {"top_k": 7, "rollout_matrix": True, "rows": SELECTIONS["last"]})
    for number in range(len(IDS)):
        assert len(alone.top_cells(number)) == 7
        assert alone.top_cells(number) == beside.top_cells(number)


def test_long_sequence(server):
    """Several slices a matrix, several events of top cells, blocks of rows from several threads."""
    length = 300
    ids = [101, *(1000 + 7 * position for position in range(length - 2)), 102]
    output = {"rollout_matrix": True, "layer_matrices": True, "top_k": length * length}
    reply = calls.attribute(server, calls.request("minilm-sdpa", [ids], output=output))
    calls.assert_within_reservation(reply)
    sequence = hugging_face.attention(minilm.model_folder(), ids)
    np.testing.assert_allclose(reply.matrix(0), rollout_oracle.rollout(sequence), atol=1e-5, rtol=0)
    for layer in range(6):
        np.testing.assert_allclose(reply.matrix(0, LAYER, layer), sequence.fused(layer), atol=1e-5, rtol=0)
    assert [len(top.cells) for top in reply.all("top")] == [65536, length * length - 65536]
    assert reply.top_cells(0) == sorted_cells(reply.matrix(0), range(length))
    assert max(event.ByteSize() for event in reply.events) < 4 << 20


def test_order_of_events(server):
    output = {"layer_metrics": True, "rollout_matrix": True, "layer_matrices": True, "top_k": 2}
    reply = attribute(server, "tiny-bert-sdpa", output, {"max_chunk_size": 2})
    names = {"admitted": "A", "layer": "L", "chunk": "C", "matrix": "M", "top": "T", "result": "R"}
    kinds = "".join(names[kind] for kind in reply.kinds())
    assert re.fullmatch(r"ALLLCM{8}TTLLLCM{4}TR", kinds), kinds
    order = [(part.sequence_index, part.layer_idx) for part in reply.all("matrix")]
    assert order == [(sequence, layer) for sequence in range(3) for layer in (-1, 0, 1, 2)]
    assert [top.sequence_index for top in reply.all("top")] == [0, 1, 2]


REFUSALS = {
    "index behind the shortest sequence": ({"kind": Rows.KIND_INDICES, "indices": [1, 6]}, "output.rows.indices[1]"),
    "negative index": ({"kind": Rows.KIND_INDICES, "indices": [-1]}, "output.rows.indices[0]"),
    "index at a masked position": ({"kind": Rows.KIND_INDICES, "indices": [1, 2, 0]}, "output.rows.indices[2]"),
    "no indices": ({"kind": Rows.KIND_INDICES}, "output.rows.indices"),
    "indices of another kind": ({"kind": Rows.KIND_LAST_VALID, "indices": [1]}, "output.rows.indices"),
    "unknown kind": ({"kind": 9}, "output.rows.kind"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_rows_that_are_refused(server, name):
    rows, field = REFUSALS[name]
    output = {"rollout_matrix": True, "rows": rows}
    found = calls.failed_attribute(server, calls.request("minilm-sdpa", IDS, MASKS, output=output))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found
    assert found.bad_fields == [field]


@pytest.mark.parametrize(
    ("output", "field"), (({"rows": SELECTIONS["first"], "top_k": 3}, "output.rows"), ({"top_k": -1}, "output.top_k"))
)
def test_outputs_that_are_refused(server, output, field):
    found = calls.failed_attribute(server, calls.request("minilm-sdpa", IDS, output=output))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found
    assert found.bad_fields == [field]


def test_estimate_knows_how_many_rows_the_threads_compute(binaries, model_repository, tmp_path):
    length, heads = 300, 12
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / "minilm-sdpa", repository / "minilm-sdpa")
    estimates = []
    for threads in (4, 8):  # 32 rows a thread, at least 128
        directory = tmp_path / str(threads)
        directory.mkdir()
        flags = ("--intra-op-threads", str(threads), "--memory-budget", "1GiB")
        with programs.ServerProcess(binaries.server, repository, directory, *flags) as server:
            server.wait_until_serving()
            reply = calls.attribute(server, calls.request("minilm-sdpa", [[101] * length]))
            calls.assert_within_reservation(reply)
            estimates.append(reply.admitted.estimated_peak_bytes)
    # Blocks of 150 rows instead of 100, of all heads; the forward pass counts at most.
    assert heads * 32 * length * 4 < estimates[1] - estimates[0] < (heads + 3) * 128 * length * 4
