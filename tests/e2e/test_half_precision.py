"""Models in half precision, whose scores come from rounded activations but are summed in float32.

The truth is Hugging Face's eager attention in float64 of the same, rounded weights (float32 where there is padding),
and the naive rollout. docs/rollout.md states the bounds: against that truth, and against what Hugging Face's own eager
attention in the same dtype is off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import architectures
import numpy as np
import pytest
import rollout_oracle
from architecture_oracle import MASKED, MASKS, RAGGED, RESIDUAL_WEIGHT, attribute, get_model, oracles
from architectures import ARCHITECTURES, HALF_DTYPES, HALF_PRECISION
from attribution.v1 import model_service_pb2

pytestmark = pytest.mark.usefixtures("one_thread")
BUNDLES = [
    pytest.param(name, attention, dtype, id=f"{name}-{attention}-{dtype}")
    for name in HALF_PRECISION
    for attention in ARCHITECTURES[name].attentions
    for dtype in HALF_DTYPES
]
# Largest relative error of rounding a number to the dtype.
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
# Absolute bounds in such units, as documented.
CELL_BOUND = 2
METRIC_BOUND = {
    "mean_attention": 1 / 8,
    "max_attention": 4,
    "attention_entropy": 4,
    "attention_concentration": 2,
    "rollout_max": 1,
    "rollout_entropy": 1,
}
# And no more than this many times the error of Hugging Face's own eager attention in the dtype, with a slack in units
# for where that happens to be small.
FACTOR = 2
CELL_SLACK = 1 / 8
METRIC_SLACK = 1


@dataclass
class Errors:
    """The largest differences from the truth over all sequences and layers."""

    cells: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)

    def add_rollout(self, got: np.ndarray, true: np.ndarray) -> None:
        self.cells = max(self.cells, float(np.abs(got - true).max()))

    def add_metrics(self, got: dict[str, float], true: dict[str, float]) -> None:
        for name in METRIC_BOUND.keys() & got.keys():
            self.metrics[name] = max(self.metrics.get(name, 0.0), abs(got[name] - true[name]))


def metrics_of(sequences) -> dict[str, float]:
    return rollout_oracle.metrics(sequences, residual_weight=RESIDUAL_WEIGHT)


def rollout_of(sequence) -> np.ndarray:
    return rollout_oracle.rollout(sequence, residual_weight=RESIDUAL_WEIGHT)


def fields(message, names=tuple(METRIC_BOUND)) -> dict[str, float]:
    return {name: getattr(message, name) for name in names}


def errors_of_server(reply, truth) -> Errors:
    errors = Errors()
    errors.add_metrics(fields(reply.result.metrics), metrics_of(truth))
    for layer in reply.result.layers:
        statistics = rollout_oracle.layer_statistics(truth, layer.layer_idx)
        errors.add_metrics(fields(layer, rollout_oracle.LAYER_FIELDS), statistics)
    for number, sequence in enumerate(truth):
        errors.add_metrics(fields(reply.result.sequences[number]), metrics_of([sequence]))
        errors.add_rollout(reply.matrix(number), rollout_of(sequence))
    return errors


def errors_of_hugging_face(own, truth) -> Errors:
    """The same for its probabilities, computed and rounded in half precision and from there on treated exactly."""
    errors = Errors()
    errors.add_metrics(metrics_of(own), metrics_of(truth))
    for layer in range(architectures.LAYERS):
        errors.add_metrics(rollout_oracle.layer_statistics(own, layer), rollout_oracle.layer_statistics(truth, layer))
    for got, true in zip(own, truth, strict=True):
        errors.add_metrics(metrics_of([got]), metrics_of([true]))
        errors.add_rollout(rollout_of(got), rollout_of(true))
    return errors


@pytest.mark.parametrize("case", ("ragged", "masked"))
@pytest.mark.parametrize(("name", "attention", "dtype"), BUNDLES)
def test_errors_are_bounded(architecture_server, architecture_repository, name, attention, dtype, case):
    sequences, masks = (RAGGED, None) if case == "ragged" else (MASKED, list(MASKS.values()))
    truth = oracles(architecture_repository, name, sequences, masks, weights=dtype)
    own = oracles(architecture_repository, name, sequences, masks, weights=dtype, dtype=dtype)
    ours = errors_of_server(attribute(architecture_server, f"{name}-{attention}-{dtype}", sequences, masks), truth)
    theirs = errors_of_hugging_face(own, truth)
    unit = UNIT[dtype]
    assert 1e-5 < ours.cells <= unit * CELL_BOUND
    assert ours.cells <= FACTOR * theirs.cells + unit * CELL_SLACK
    model = get_model(architecture_server, f"{name}-{attention}-{dtype}")
    if all(site.kind == model_service_pb2.SITE_KIND_BLOCKED for site in model.sites):
        assert ours.metrics["mean_attention"] < 1e-6  # probabilities are float32: rows sum to 1
    for metric, bound in METRIC_BOUND.items():
        assert ours.metrics[metric] <= unit * bound, metric
        assert ours.metrics[metric] <= FACTOR * theirs.metrics[metric] + unit * METRIC_SLACK, metric


@pytest.mark.parametrize(("name", "attention", "dtype"), BUNDLES)
def test_takes_half_the_memory(architecture_server, name, attention, dtype):
    half = get_model(architecture_server, f"{name}-{attention}-{dtype}")
    whole = get_model(architecture_server, f"{name}-{attention}")
    assert half.state == model_service_pb2.MODEL_STATE_SERVING, half.load_error
    assert [site.module_path for site in half.sites] == [site.module_path for site in whole.sites]
    assert half.resident_bytes < 0.7 * whole.resident_bytes
