"""Attention rollout and its metrics, kept naive: every layer in memory, float64, one sequence at a time.

Independent of the server's code. The formulas are those of docs/rollout.md: layers are head-fused by the mean, only
valid positions count, `R` is zero elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

ABNAR_2020 = "ABNAR_2020"
ICLR_METRICS = "ICLR_METRICS"

LAYER_FIELDS = ("mean_attention", "max_attention", "attention_entropy", "attention_concentration")
ROLLOUT_FIELDS = ("rollout_max", "rollout_entropy")


def mean_of_heads(heads: np.ndarray) -> np.ndarray:
    """[H, S, S] to [S, S]."""
    return heads.mean(axis=0)


@dataclass
class SequenceAttention:
    """Attention of one sequence: `layers` are L matrices [H, S, S], `mask` is 0 or 1, [S]."""

    layers: list[np.ndarray]
    mask: np.ndarray
    fusion: Callable[[np.ndarray], np.ndarray] = mean_of_heads

    def fused(self, layer: int) -> np.ndarray:
        """Heads of one layer made one over the valid positions, [n, n] float64."""
        valid = np.flatnonzero(self.mask)
        return self.fusion(np.asarray(self.layers[layer], dtype=np.float64))[np.ix_(valid, valid)]

    def with_fusion(self, fusion: Callable[[np.ndarray], np.ndarray]) -> SequenceAttention:
        """The same attention, with heads [H, S, S] fused by another function."""
        return replace(self, fusion=fusion)

    def between(self, start: int, end: int) -> SequenceAttention:
        """The same attention, of layers start to end, both included."""
        return replace(self, layers=self.layers[start : end + 1])

    def full(self, block: np.ndarray) -> np.ndarray:
        """Puts a block [n, n] of the valid positions into zeros [S, S]."""
        valid = np.flatnonzero(self.mask)
        matrix = np.zeros((len(self.mask), len(self.mask)))
        matrix[np.ix_(valid, valid)] = block
        return matrix


def normalise_rows(matrix: np.ndarray) -> np.ndarray:
    """Divides each row by its sum, or by 1e-10 if that is larger."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-10)


def rollout_block(sequence: SequenceAttention, preset: str, residual_weight: float) -> np.ndarray:
    """The rollout over the valid positions, [n, n]."""
    fused = [sequence.fused(layer) for layer in range(len(sequence.layers))]
    identity = np.eye(len(fused[0]))
    mixed = [normalise_rows((1.0 - residual_weight) * layer + residual_weight * identity) for layer in fused]
    if preset == ABNAR_2020:
        result = mixed[0]
        for layer in mixed[1:]:
            result = layer @ result
        return result
    if preset == ICLR_METRICS:
        result = fused[0]
        for layer in mixed[1:]:
            result = result @ layer
        return result
    raise ValueError(f"no oracle for preset {preset}")


def rollout(sequence: SequenceAttention, preset: str = ABNAR_2020, residual_weight: float = 0.5) -> np.ndarray:
    """The rollout of one sequence, [S, S], zero at masked positions."""
    return sequence.full(rollout_block(sequence, preset, residual_weight))


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
    sequences: list[SequenceAttention], preset: str = ABNAR_2020, residual_weight: float = 0.5, layer_idx: int = -1
) -> dict[str, float]:
    """The eight metrics over sequences; give one sequence for its own metrics."""
    statistics = layer_statistics(sequences, layer_idx)
    blocks = [rollout_block(sequence, preset, residual_weight) for sequence in sequences]
    result = {name: statistics[name] for name in LAYER_FIELDS}
    result["rollout_max"] = float(max(block.max() for block in blocks))
    result["rollout_entropy"] = float(np.concatenate([row_entropies(block) for block in blocks]).mean())
    result["batch_size"] = len(sequences)
    result["seq_length"] = max(len(sequence.mask) for sequence in sequences)
    return result
