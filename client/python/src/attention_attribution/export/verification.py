"""Proves a trace against the model it came from."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from . import tracing, vision
from .errors import ExportError, last_line

# Allowed difference of the trace from eager attention of the same weights in float32, relative to the largest absolute
# hidden value. Covers the rounding of fused attention and of the dtype, not a wrong trace.
BOUND = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}

# Sharp attention makes more of rounding: a model may be further off than BOUND in half precision whatever its form of
# attention. The trace may then be off by this many times what the model's own eager attention is off in that dtype.
_HALF_PRECISION_FACTOR = 2

_SHAPES = ((1, 5), (3, 13), (2, 48))
# Beyond a sliding window by this much, so that a window that was traced away shows; longer windows are not tried.
_BEYOND_WINDOW = 16
_LONGEST_WINDOW = 1024


def check_weights(model: torch.nn.Module, dtype: str) -> None:
    """Raises ExportError, naming the weights, if they hold NaN or Inf, be it for their size in `dtype`."""
    for name, weights in model.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise ExportError(
                f"The weights hold NaN or Inf: {name} in {dtype}. Mend the model, or pass a --dtype that holds them."
            )


def verify(
    traced: torch.jit.ScriptModule, model: torch.nn.Module, dtype: str, longest: int | None
) -> tuple[float, float]:
    """Holds the trace against the model with eager attention, at batch sizes and lengths it was not traced with.

    Compares valid positions only. Returns (difference relative to the largest hidden value, its bound) where they are
    closest to each other. Raises ExportError if the bound is exceeded or a value is not finite. In half precision this
    holds a float32 copy of the model.
    """
    closest = (0.0, BOUND[dtype])
    with ExitStack() as stack:
        own = None if dtype == "float32" else stack.enter_context(_eager(model))
        truth = stack.enter_context(_eager(model if own is None else copy.deepcopy(model).float()))
        for seed, (batch, length) in enumerate(_shapes(model, longest), start=2):
            inputs = tracing.example_inputs(model, batch, length, seed)
            shape = f"{batch} images" if vision.takes_pixels(model) else f"{batch} x {length} tokens"
            expected = _valid_rows(truth, inputs)
            if not bool(torch.isfinite(expected).all()):
                raise ExportError(f"The model itself gives values that are not finite at {shape}.")
            try:
                got = _valid_rows(traced, inputs)
            except RuntimeError as error:
                raise ExportError(
                    f"The trace does not run at {shape}: {last_line(error)}. Its shapes are those it was traced with; "
                    f"try the other --attention."
                ) from error
            if not bool(torch.isfinite(got).all()):
                raise ExportError(f"The trace gives values that are not finite at {shape} in {dtype}.")
            difference, bound = _difference(got, expected), BOUND[dtype]
            if own is not None:
                rounding = _difference(_valid_rows(own, inputs), expected)
                if math.isfinite(rounding):
                    bound = max(bound, _HALF_PRECISION_FACTOR * rounding)
            if difference > bound:
                raise ExportError(
                    f"The trace does not reproduce the model: difference {difference:.2e} at {shape}, bound "
                    f"{bound:.0e}. Try the other --attention."
                )
            closest = max(closest, (difference, bound), key=lambda pair: pair[0] / pair[1])
    return closest


def _shapes(model: torch.nn.Module, longest: int | None) -> list[tuple[int, int]]:
    """Batch sizes and lengths to try, none longer than `longest` tokens."""
    shapes = list(_SHAPES)
    for key in ("sliding_window", "local_attention"):
        window = getattr(model.config, key, None)
        if isinstance(window, int) and 0 < window <= _LONGEST_WINDOW:
            shapes.append((1, window + _BEYOND_WINDOW))
    return [(batch, min(length, longest or length)) for batch, length in shapes]


@contextmanager
def _eager(model: Any) -> Iterator[torch.nn.Module]:
    """The model, wrapped as for the trace, with eager attention for as long as the block lasts."""
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield tracing.wrap(model)
    finally:
        model.set_attn_implementation(attention)


def _valid_rows(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The hidden values of valid positions, float32 [N, D]; of images [B, S, D], all are valid."""
    dtype = next(module.parameters(), inputs[0]).dtype
    if inputs[0].is_floating_point():
        with torch.no_grad():
            return module(inputs[0].to(dtype)).float()
    valid = inputs[1].bool() if len(inputs) > 1 else torch.ones_like(inputs[0], dtype=torch.bool)
    with torch.no_grad():
        return module(*inputs)[valid].float()


def _difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
