"""Attention rollout and its metrics, kept naive: every layer in memory, float64, one sequence at a time.

Independent of the server's code. The formulas are those of docs/rollout.md: layers are head-fused by the mean, only
valid positions count unless padding is included, `R` is zero elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

ABNAR_2020 = "ABNAR_2020"
ICLR_METRICS = "ICLR_METRICS"
CHEFER_2021 = "CHEFER_2021"
VIT_EXPLAIN = "VIT_EXPLAIN"
VIT_EXPLAIN_FIXED = "VIT_EXPLAIN_FIXED"
PRESETS = (ABNAR_2020, ICLR_METRICS, CHEFER_2021, VIT_EXPLAIN, VIT_EXPLAIN_FIXED)

# What presets set that is not 0.
FIRST_LAYER = {CHEFER_2021: 1}
DISCARD_RATIO = {VIT_EXPLAIN: 0.9, VIT_EXPLAIN_FIXED: 0.9}

LAYER_FIELDS = ("mean_attention", "max_attention", "attention_entropy", "attention_concentration")
ROLLOUT_FIELDS = ("rollout_max", "rollout_entropy")


def mean_of_heads(heads: np.ndarray) -> np.ndarray:
    """[H, S, S] to [S, S]."""
    return heads.mean(axis=0)


@dataclass
class SequenceAttention:
    """Attention of one sequence: `layers` are L matrices [H, S, S], `mask` is 0 or 1, [S].

    With `include_padding` every position counts, and masked rows that hold NaN are zero.
    """

    layers: list[np.ndarray]
    mask: np.ndarray
    fusion: Callable[[np.ndarray], np.ndarray] = mean_of_heads
    include_padding: bool = False

    def positions(self) -> np.ndarray:
        """The positions that count."""
        return np.arange(len(self.mask)) if self.include_padding else np.flatnonzero(self.mask)

    def fused(self, layer: int) -> np.ndarray:
        """Heads of one layer made one over the positions that count, [n, n] float64."""
        matrix = self.fusion(np.asarray(self.layers[layer], dtype=np.float64))
        if self.include_padding:
            matrix = matrix.copy()
            for row in np.flatnonzero(np.asarray(self.mask) == 0):
                if np.isnan(matrix[row]).any():
                    matrix[row] = 0.0
        return matrix[np.ix_(self.positions(), self.positions())]

    def with_fusion(self, fusion: Callable[[np.ndarray], np.ndarray]) -> SequenceAttention:
        """The same attention, with heads [H, S, S] fused by another function."""
        return replace(self, fusion=fusion)

    def with_padding(self) -> SequenceAttention:
        """The same attention, every position of it."""
        return replace(self, include_padding=True)

    def between(self, start: int, end: int) -> SequenceAttention:
        """The same attention, of layers start to end, both included."""
        return replace(self, layers=self.layers[start : end + 1])

    def full(self, block: np.ndarray) -> np.ndarray:
        """Puts a block [n, n] of the positions that count into zeros [S, S]."""
        matrix = np.zeros((len(self.mask), len(self.mask)))
        matrix[np.ix_(self.positions(), self.positions())] = block
        return matrix


def discarded(matrix: np.ndarray, ratio: float) -> np.ndarray:
    """Zeroes the int(ratio * size) smallest cells, the first of equal ones first, but never the very first cell."""
    cells = matrix.flatten()
    smallest = np.argsort(cells, kind="stable")[: int(ratio * cells.size)]
    cells[smallest[smallest != 0]] = 0.0
    return cells.reshape(matrix.shape)


def normalise_rows(matrix: np.ndarray) -> np.ndarray:
    """Divides each row by its sum, or by 1e-10 if that is larger."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-10)


def normalise_as_vit_explain(matrix: np.ndarray) -> np.ndarray:
    """Divides by the row sums without keeping their axis, so that column j is divided by the sum of row j."""
    return matrix / np.maximum(matrix.sum(axis=-1), 1e-10)


def rollout_block(
    sequence: SequenceAttention, preset: str, residual_weight: float, discard_ratio: float | None = None
) -> np.ndarray:
    """The rollout over the positions that count, [n, n]; `discard_ratio` None is the preset's."""
    if preset not in PRESETS:
        raise ValueError(f"no oracle for preset {preset}")
    ratio = DISCARD_RATIO.get(preset, 0.0) if discard_ratio is None else discard_ratio
    layers = range(FIRST_LAYER.get(preset, 0), len(sequence.layers))
    fused = [discarded(sequence.fused(layer), ratio) for layer in layers]
    identity = np.eye(len(fused[0]))
    normalise = normalise_as_vit_explain if preset == VIT_EXPLAIN else normalise_rows
    mixed = [normalise((1.0 - residual_weight) * layer + residual_weight * identity) for layer in fused]
    result = fused[0] if preset == ICLR_METRICS else mixed[0]
    for layer in mixed[1:]:
        result = result @ layer if preset == ICLR_METRICS else layer @ result
    return result


def rollout(
    sequence: SequenceAttention,
    preset: str = ABNAR_2020,
    residual_weight: float = 0.5,
    discard_ratio: float | None = None,
) -> np.ndarray:
    """The rollout of one sequence, [S, S], zero at positions that do not count."""
    return sequence.full(rollout_block(sequence, preset, residual_weight, discard_ratio))


def corrected_rollout(sequence: SequenceAttention, correction: str) -> np.ndarray:
    """The rollout of ABNAR_2020 after "uniform-ratio" or "drop-first", [S, S]."""
    block = rollout_block(sequence, ABNAR_2020, 0.5)
    if correction == "drop-first":
        block[:, 0] = 0.0
        return sequence.full(normalise_rows(block))
    layers = []
    for heads in sequence.layers:
        seen = (np.asarray(heads) > 0).any(axis=0) & (np.asarray(sequence.mask) != 0)
        layers.append((seen / np.maximum(seen.sum(axis=1, keepdims=True), 1))[np.newaxis])
    uniform = rollout_block(replace(sequence, layers=layers), ABNAR_2020, 0.5)
    reached = uniform >= 1e-30
    block = np.divide(block, uniform, out=np.zeros_like(block), where=reached)
    return sequence.full(normalise_rows(block))


def row_entropies(block: np.ndarray) -> np.ndarray:
    """Entropy of each row in nats; the logarithm's argument is held at 1e-12."""
    return -(block * np.log(np.maximum(block, 1e-12))).sum(axis=1)


def layer_statistics(sequences: list[SequenceAttention], layer: int) -> dict[str, float]:
    """The four attention statistics of one layer over sequences, with num_rows and num_cells.

    The mean weighs cells equally, entropy and concentration weigh rows equally.
    """
    blocks = [sequence.fused(layer) for sequence in sequences]
    return {
        "mean_attention": float(sum(block.sum() for block in blocks) / sum(block.size for block in blocks)),
        "max_attention": float(max(block.max() for block in blocks)),
        "attention_entropy": float(np.concatenate([row_entropies(block) for block in blocks]).mean()),
        "attention_concentration": float(np.concatenate([block.max(axis=1) for block in blocks]).mean()),
        "num_rows": sum(len(block) for block in blocks),
        "num_cells": sum(block.size for block in blocks),
    }


def metrics(
    sequences: list[SequenceAttention],
    preset: str = ABNAR_2020,
    residual_weight: float = 0.5,
    layer_idx: int = -1,
    discard_ratio: float | None = None,
) -> dict[str, float]:
    """The eight metrics over sequences; give one sequence for its own metrics."""
    statistics = layer_statistics(sequences, layer_idx)
    blocks = [rollout_block(sequence, preset, residual_weight, discard_ratio) for sequence in sequences]
    result = {name: statistics[name] for name in LAYER_FIELDS}
    result["rollout_max"] = float(max(block.max() for block in blocks))
    result["rollout_entropy"] = float(np.concatenate([row_entropies(block) for block in blocks]).mean())
    result["batch_size"] = len(sequences)
    result["seq_length"] = max(len(sequence.mask) for sequence in sequences)
    return result
