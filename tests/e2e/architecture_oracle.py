"""Holds answers about the models of many architectures against Hugging Face's eager attention and naive rollout."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import architectures
import calls
import hugging_face
import numpy as np
import pytest
import rollout_oracle
from attribution.v1 import model_service_pb2

TOLERANCE = 1e-5
RESIDUAL_WEIGHT = 0.3


def ids(length: int, seed: int) -> list[int]:
    """Token ids that are padding in no model."""
    return np.random.default_rng(seed).integers(10, architectures.VOCABULARY, length).tolist()


# Lengths on both sides of the sliding windows; the server pads them on the right to the longest of a chunk.
RAGGED = [ids(40, 1), ids(13, 2), ids(5, 3), ids(1, 4)]
MASKS = {
    "tail": [1] * 15 + [0] * 8,
    "head": [0] * 8 + [1] * 15,
    "gap": [1] * 6 + [0] * 4 + [1] * 13,
}
MASKED = [ids(23, 5)] * len(MASKS)


def get_model(server: Any, name: str) -> model_service_pb2.Model:
    """What the server says about a bundle."""
    return calls.model_stub(server).GetModel(model_service_pb2.GetModelRequest(model=name), timeout=10).model


@lru_cache(maxsize=512)
def _attention(
    folder: Path, input_ids: tuple[int, ...], mask: tuple[int, ...], dtype: str, weights: str | None
) -> rollout_oracle.SequenceAttention:
    return hugging_face.attention(folder, input_ids, mask, dtype, weights)


def oracles(
    repository: Path, name: str, sequences: Any, masks: Any = None, weights: str | None = None, dtype: str | None = None
) -> list[rollout_oracle.SequenceAttention]:
    """Eager attention of each sequence alone, in `dtype` (None: float64, float32 where something is masked).

    `weights`: dtype to which the weights are rounded; None: as they are in the folder.
    """
    masks = masks or [[1] * len(sequence) for sequence in sequences]
    folder = architectures.folder(repository, name)
    return [
        _attention(folder, tuple(sequence), tuple(mask), dtype or ("float64" if all(mask) else "float32"), weights)
        for sequence, mask in zip(sequences, masks, strict=True)
    ]


def assert_fields(got: Any, expected: dict[str, float], names: Any) -> None:
    """Fields of a reply equal the oracle's to TOLERANCE."""
    for name in names:
        assert getattr(got, name) == pytest.approx(expected[name], abs=TOLERANCE, rel=0), name


def attribute(server: Any, bundle: str, sequences: Any, masks: Any = None, preset: str = "ABNAR_2020") -> Any:
    """Asks for everything that assert_equals_oracle looks at."""
    message = calls.request(
        bundle,
        sequences,
        masks,
        options={"preset": calls.PRESETS[preset], "residual_weight": RESIDUAL_WEIGHT},
        output={"rollout_matrix": True, "layer_metrics": True},
    )
    return calls.attribute(server, message)


def assert_equals_oracle(
    server: Any, repository: Path, name: str, form: str, sequences: Any, masks: Any = None, preset: str = "ABNAR_2020"
) -> None:
    """Metrics of the batch and of each sequence, statistics of each layer, and every rollout matrix."""
    reply = attribute(server, f"{name}-{form}", sequences, masks, preset)
    expected = oracles(repository, name, sequences, masks)
    whole = rollout_oracle.metrics(expected, preset, RESIDUAL_WEIGHT)
    assert_fields(reply.result.metrics, whole, calls.METRIC_FIELDS)
    assert [layer.layer_idx for layer in reply.result.layers] == list(range(architectures.LAYERS))
    for layer in reply.result.layers:
        statistics = rollout_oracle.layer_statistics(expected, layer.layer_idx)
        assert_fields(layer, statistics, statistics)
    for number, sequence in enumerate(expected):
        own = rollout_oracle.metrics([sequence], preset, RESIDUAL_WEIGHT)
        assert_fields(reply.result.sequences[number], own, calls.METRIC_FIELDS)
        matrix = rollout_oracle.rollout(sequence, preset, RESIDUAL_WEIGHT)
        np.testing.assert_allclose(reply.matrix(number), matrix, atol=TOLERANCE, rtol=0)
