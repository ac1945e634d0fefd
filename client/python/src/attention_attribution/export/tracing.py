"""Traces a Hugging Face model to TorchScript and proves the trace against the model it came from."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch

from .errors import ExportError

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")

# Allowed difference between the trace and the eager module, relative to the largest absolute hidden value. The eager
# module computes its attention unfused, so the bound covers the rounding between both forms, not a wrong trace.
VERIFICATION_BOUND = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}

_TRACE_SHAPE = (2, 7)
_VERIFICATION_SHAPES = ((1, 5), (3, 13), (2, 48))


class _LastHiddenState(torch.nn.Module):
    """Keeps the model under its customary prefix (`bert`, `transformer`), so that module paths read naturally."""

    def __init__(self, model: torch.nn.Module, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.add_module(prefix, model)

    def run(self, **inputs: torch.Tensor) -> torch.Tensor:
        return getattr(self, self.prefix)(**inputs, return_dict=True, **self.extra()).last_hidden_state

    def extra(self) -> dict[str, Any]:
        parameters = inspect.signature(getattr(self, self.prefix).forward).parameters
        return {"use_cache": False} if "use_cache" in parameters else {}


class _Ids(_LastHiddenState):
    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.run(input_ids=input_ids)


class _IdsMask(_LastHiddenState):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.run(input_ids=input_ids, attention_mask=attention_mask)


class _IdsMaskTypes(_LastHiddenState):
    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        return self.run(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)


def input_names(model: torch.nn.Module) -> list[str]:
    """Names the inputs to trace: those of INPUT_NAMES that the model's forward takes and that change its output."""
    parameters = inspect.signature(model.forward).parameters
    if "input_ids" not in parameters:
        raise ExportError(f"The model takes no input_ids: {type(model).__name__}. Export a text model.")
    names = ["input_ids"]
    if "attention_mask" in parameters:
        names.append("attention_mask")
        if "token_type_ids" in parameters and (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
            names.append("token_type_ids")
    return names


def wrap(model: torch.nn.Module) -> _LastHiddenState:
    """Gives the model a forward with the arguments of `input_names` and one tensor as its result."""
    wrapper = (_Ids, _IdsMask, _IdsMaskTypes)[len(input_names(model)) - 1]
    prefix = getattr(model, "base_model_prefix", "") or "model"
    return wrapper(model, prefix).eval()


def example_inputs(model: torch.nn.Module, batch: int, length: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Draws inputs [batch, length]; every second sequence is padded on the right by a third of its length."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.get_input_embeddings().num_embeddings
    # Special tokens have low ids in most vocabularies; a padding id among the words would change positions.
    lowest = min(10, vocabulary // 2)
    ids = torch.randint(lowest, vocabulary, (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[1::2, length - length // 3 :] = 0
    pad = getattr(model.config, "pad_token_id", None)
    if isinstance(pad, int) and 0 <= pad < vocabulary:
        ids[mask == 0] = pad
    types = torch.zeros_like(ids)
    types[:, length // 2 :] = 1
    return (ids, mask, types)[: len(input_names(model))]


def trace(model: torch.nn.Module) -> torch.jit.ScriptModule:
    """Traces the model's forward in eval mode. Raises ExportError with torch's reason if it does not trace."""
    wrapper = wrap(model)
    inputs = example_inputs(model, *_TRACE_SHAPE, seed=1)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(wrapper, inputs, check_trace=False, strict=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"The model does not trace to TorchScript: {type(model).__name__}: {reason}") from error


def verify(
    traced: torch.jit.ScriptModule, model: torch.nn.Module, dtype: str, longest: int | None
) -> tuple[float, float]:
    """Holds the trace against the model with eager attention, at batch sizes and lengths it was not traced with.

    Compares valid positions only. Returns (largest difference relative to the largest hidden value, its bound).
    Raises ExportError if the bound is exceeded or a value is not finite.
    """
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        reference = wrap(model)
        worst = 0.0
        for seed, (batch, length) in enumerate(_VERIFICATION_SHAPES, start=2):
            length = min(length, longest or length)
            inputs = example_inputs(model, batch, length, seed)
            valid = inputs[1].bool() if len(inputs) > 1 else torch.ones_like(inputs[0], dtype=torch.bool)
            with torch.no_grad():
                expected = reference(*inputs)[valid].float()
                got = traced(*inputs)[valid].float()
            if not bool(torch.isfinite(got).all()):
                raise ExportError(f"The trace gives values that are not finite at {batch} x {length} tokens.")
            difference = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
            worst = max(worst, difference)
            if worst > VERIFICATION_BOUND[dtype]:
                raise ExportError(
                    f"The trace does not reproduce the model: difference {worst:.2e} at {batch} x {length} tokens, "
                    f"bound {VERIFICATION_BOUND[dtype]:.0e}. Try the other --attention."
                )
    finally:
        model.set_attn_implementation(attention)
    return worst, VERIFICATION_BOUND[dtype]


def count_attention_nodes(traced: torch.jit.ScriptModule, attention: str) -> int:
    """Counts the traced attention nodes: fused calls for `sdpa`, softmax calls for `eager`."""
    kind = "aten::scaled_dot_product_attention" if attention == "sdpa" else "aten::softmax"
    return len(traced.inlined_graph.findAllNodes(kind, recurse=True))
