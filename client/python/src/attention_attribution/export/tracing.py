"""Traces a Hugging Face model to TorchScript."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch

from . import vision
from .errors import ExportError, first_line

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")

_TRACE_SHAPE = (2, 7)


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


class _Pixels(_LastHiddenState):
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.run(pixel_values=pixel_values)


def input_names(model: torch.nn.Module) -> list[str]:
    """Names the inputs to trace: those of INPUT_NAMES that the model's forward takes and that change its output.

    Of a model of images `pixel_values` alone.
    """
    if vision.takes_pixels(model):
        return ["pixel_values"]
    parameters = inspect.signature(model.forward).parameters
    if "input_ids" not in parameters:
        raise ExportError(f"The model takes no input_ids: {type(model).__name__}. Export a model of text or images.")
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in INPUT_NAMES
    ]
    if needed:
        raise ExportError(
            f"The model does not run without inputs that no request gives: {type(model).__name__} needs "
            f"{', '.join(needed)}. Export a model whose forward takes input_ids and attention_mask."
        )
    names = ["input_ids"]
    if "attention_mask" in parameters:
        names.append("attention_mask")
        if "token_type_ids" in parameters and (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
            names.append("token_type_ids")
    return names


def vocabulary_size(model: torch.nn.Module) -> int:
    """Rows of the token embedding; ids are below it."""
    return model.get_input_embeddings().weight.shape[0]


def wrap(model: torch.nn.Module) -> _LastHiddenState:
    """Gives the model a forward with the arguments of `input_names` and one tensor as its result."""
    wrapper = _Pixels
    if not vision.takes_pixels(model):
        wrapper = (_Ids, _IdsMask, _IdsMaskTypes)[len(input_names(model)) - 1]
    prefix = getattr(model, "base_model_prefix", "") or "model"
    return wrapper(model, prefix).eval()


def example_inputs(model: torch.nn.Module, batch: int, length: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Draws inputs [batch, length]; every second sequence is padded on the right by a third of its length.

    Of a model of images: `batch` images.
    """
    if vision.takes_pixels(model):
        return (vision.example_pixels(model, batch, seed),)
    generator = torch.Generator().manual_seed(seed)
    vocabulary = vocabulary_size(model)
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


def trace(model: torch.nn.Module, longest: int | None = None) -> torch.jit.ScriptModule:
    """Traces the model's forward in eval mode, at no more than `longest` tokens.

    Raises ExportError with torch's reason if it does not trace.
    """
    wrapper = wrap(model)
    batch, length = _TRACE_SHAPE
    inputs = example_inputs(model, batch, min(length, longest or length), seed=1)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(wrapper, inputs, check_trace=False, strict=False)
    except Exception as error:
        raise ExportError(
            f"The model does not trace to TorchScript: {type(model).__name__}: {first_line(error)}.{_way_out(error)}"
        ) from error


def freeze(traced: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Folds the weights into the graph as constants, which leaves no modules and so no paths of attention."""
    return torch.jit.freeze(traced, optimize_numerics=False)


def count_attention_nodes(traced: torch.jit.ScriptModule, attention: str) -> int:
    """Counts the traced attention nodes: fused calls for `sdpa`, softmax calls for `eager`."""
    kind = "aten::scaled_dot_product_attention" if attention == "sdpa" else "aten::softmax"
    return len(traced.inlined_graph.findAllNodes(kind, recurse=True))


def _way_out(error: Exception) -> str:
    # "add_cpu" not implemented for 'Half'; Unsupported dtype Half; expected Float but found BFloat16.
    if "Half" in str(error) or "BFloat16" in str(error):
        return (
            " The model does not run in half precision on the CPU. Pass --dtype float32, or the other half precision."
        )
    return ""
