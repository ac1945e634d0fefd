"""Writes down the attention of an eager model while it runs, whatever its modules are.

`torch.nn.functional.scaled_dot_product_attention` and softmax over the last dimension are replaced for the time of one
run: the first by its definition in plain operators. Models run in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.nn import functional


@contextmanager
def recording() -> Iterator[list[torch.Tensor]]:
    """Yields the list that receives the probabilities of every attention and softmax, in order of execution."""
    found: list[torch.Tensor] = []
    plain_softmax = torch.Tensor.softmax

    def softmax(values: torch.Tensor, dim: int | None = None, *rest: Any, **options: Any) -> torch.Tensor:
        options.pop("_stacklevel", None)
        probabilities = plain_softmax(values, dim, *rest, **options)
        if dim in (-1, values.dim() - 1):
            found.append(probabilities)
        return probabilities

    def attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        del dropout_p
        if enable_gqa:
            key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
            value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
        scores = query @ key.transpose(-1, -2) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
        if is_causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        probabilities = plain_softmax(scores, -1).nan_to_num(0.0)
        found.append(probabilities)
        return probabilities @ value

    with (
        mock.patch.object(functional, "scaled_dot_product_attention", attention),
        mock.patch.object(functional, "softmax", softmax),
        mock.patch.object(torch, "softmax", softmax),
        mock.patch.object(torch.Tensor, "softmax", softmax),
    ):
        yield found


def attentions(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Runs an eager module in float64; returns what it computed as attention or softmax.

    Gradients are on: PyTorch's own modules then take the path that is written in Python.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with recording() as found:
            module.double()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return [probabilities.detach() for probabilities in found]
