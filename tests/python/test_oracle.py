"""The oracle itself, held against numbers worked out by hand."""

import math

import numpy as np
import pytest
import rollout_oracle as oracle

FIRST = np.array([[1.0, 0.0], [0.5, 0.5]])
SECOND = np.array([[0.0, 1.0], [0.25, 0.75]])


def sequence(*layers, mask=(1, 1)):
    return oracle.SequenceAttention([layer[None] for layer in layers], np.array(mask))


def test_abnar_multiplies_the_later_layer_from_the_left():
    # Mixed layers: [[1, 0], [.25, .75]] and [[.5, .5], [.125, .875]].
    np.testing.assert_allclose(oracle.rollout(sequence(FIRST, SECOND)), [[0.625, 0.375], [0.34375, 0.65625]])


def test_iclr_starts_raw_and_multiplies_from_the_right():
    expected = [[0.5, 0.5], [0.3125, 0.6875]]
    np.testing.assert_allclose(oracle.rollout(sequence(FIRST, SECOND), oracle.ICLR_METRICS), expected)


def test_residual_weight():
    np.testing.assert_allclose(oracle.rollout(sequence(SECOND), residual_weight=0.2), [[0.2, 0.8], [0.2, 0.8]])
    np.testing.assert_allclose(oracle.rollout(sequence(FIRST, SECOND), residual_weight=1.0), np.eye(2))


def test_heads_are_averaged():
    heads = oracle.SequenceAttention([np.stack([FIRST, SECOND])], np.array([1, 1]))
    np.testing.assert_allclose(heads.fused(0), [[0.5, 0.5], [0.375, 0.625]])


def test_uniform_attention_has_entropy_log_n():
    uniform = sequence(np.full((5, 5), 0.2), mask=[1] * 5)
    metrics = oracle.metrics([uniform])
    assert metrics["attention_entropy"] == pytest.approx(math.log(5))
    assert metrics["mean_attention"] == pytest.approx(0.2)
    assert metrics["attention_concentration"] == pytest.approx(0.2)


def test_masked_positions_do_not_count_even_when_nan():
    padded = np.full((3, 3), np.nan)
    padded[:2, :2] = SECOND
    short, whole = sequence(SECOND), sequence(padded, mask=[1, 1, 0])
    assert oracle.metrics([short])["rollout_entropy"] == oracle.metrics([whole])["rollout_entropy"]
    assert not oracle.rollout(whole)[2].any() and not oracle.rollout(whole)[:, 2].any()


def test_batch_weighs_cells_for_the_mean_and_rows_for_the_entropy():
    one, two = sequence(np.ones((1, 1)), mask=[1]), sequence(SECOND)
    metrics = oracle.metrics([one, two])
    assert metrics["mean_attention"] == pytest.approx(3 / 5)
    row = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert metrics["attention_entropy"] == pytest.approx(row / 3)
    assert (metrics["batch_size"], metrics["seq_length"]) == (2, 2)


# The two smallest cells of HALF are the 0.25 and the first of the 0.5s, which is the first cell and stays.
HALF = np.array([[0.5, 0.5], [0.25, 0.75]])


def test_discard_keeps_the_first_cell_and_takes_the_first_of_equal_ones():
    np.testing.assert_array_equal(oracle.discarded(HALF, 0.5), [[0.5, 0.5], [0.0, 0.75]])
    np.testing.assert_array_equal(oracle.discarded(HALF, 0.75), [[0.5, 0.0], [0.0, 0.75]])
    np.testing.assert_array_equal(oracle.discarded(HALF, 0.24), HALF)


def test_vit_explain_divides_columns_by_row_sums():
    # 0.5 A + 0.5 I of what is left is [[.75, .25], [0, .875]]; its rows sum to 1 and 0.875.
    got = oracle.rollout(sequence(HALF), oracle.VIT_EXPLAIN, discard_ratio=0.5)
    np.testing.assert_allclose(got, [[0.75, 0.25 / 0.875], [0.0, 1.0]])
    got = oracle.rollout(sequence(HALF), oracle.VIT_EXPLAIN_FIXED, discard_ratio=0.5)
    np.testing.assert_allclose(got, [[0.75, 0.25], [0.0, 1.0]])


def test_vit_explain_discards_nine_tenths_unless_told():
    # 3 of 4 cells.
    np.testing.assert_allclose(oracle.rollout(sequence(HALF), oracle.VIT_EXPLAIN_FIXED), [[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(
        oracle.rollout(sequence(HALF), oracle.VIT_EXPLAIN_FIXED, discard_ratio=0.0), oracle.rollout(sequence(HALF))
    )


def test_chefer_leaves_the_first_layer_out():
    np.testing.assert_allclose(
        oracle.rollout(sequence(FIRST, SECOND), oracle.CHEFER_2021), oracle.rollout(sequence(SECOND))
    )


def test_iclr_discards_from_its_raw_layer_too():
    got = oracle.rollout(sequence(HALF), oracle.ICLR_METRICS, discard_ratio=0.5)
    np.testing.assert_allclose(got, [[0.5, 0.5], [0.0, 0.75]])


def test_included_padding_counts_and_its_nan_rows_are_zero():
    padded = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [np.nan, 0.25, 0.25]])
    whole = sequence(padded, mask=[1, 1, 0]).with_padding()
    np.testing.assert_array_equal(whole.fused(0), [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert oracle.metrics([whole])["mean_attention"] == pytest.approx(2 / 9)
    # The row of zeros has the identity alone.
    np.testing.assert_allclose(oracle.rollout(whole)[2], [0.0, 0.0, 1.0])
