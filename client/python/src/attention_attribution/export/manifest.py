"""Collects the manifest of a bundle; the package's documentation lists its keys."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from . import tokenizer as tokenizer_files
from . import tracing, vision

FORMAT_VERSION = 1
WARMUP_SHAPES = [[1, 8], [2, 13]]


def max_sequence_length(model: Any) -> int | None:
    """The longest sequence in tokens, or None if the model sets no bound.

    Position tables with a padding index (RoBERTa's family) start counting behind it, so fewer positions are usable.
    """
    longest = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(longest, int) or longest <= 0:
        return None
    for name, module in model.named_modules():
        padding_index = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and isinstance(padding_index, int):
            return longest - padding_index - 1
    return longest


def pad_token_id(model: Any, tokenizer: Any | None) -> int:
    """The id that pads: the model's, else the tokenizer's, else 0."""
    for owner in (model.config, tokenizer):
        number = getattr(owner, "pad_token_id", None)
        if isinstance(number, int) and 0 <= number < tracing.vocabulary_size(model):
            return number
    return 0


def build(
    name: str, model: Any, attention: str, dtype: str, frozen: bool, tokenizer: Any | None, model_file: Path
) -> dict[str, Any]:
    """Builds the manifest of `model_file`, which must be complete: its sha256 is taken here."""
    import torch
    import transformers

    longest = max_sequence_length(model)
    manifest: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "sha256": hashlib.sha256(model_file.read_bytes()).hexdigest(),
        "attention": attention,
        "dtype": dtype,
        "frozen": frozen,
        **(_image_keys(model) if vision.takes_pixels(model) else _token_keys(model, tokenizer, longest)),
    }
    for key, attribute in (("num_layers", "num_hidden_layers"), ("num_heads", "num_attention_heads")):
        value = getattr(model.config, attribute, None)
        if isinstance(value, int):
            manifest[key] = value
    manifest["attention_layer_pattern"] = ""
    if not vision.takes_pixels(model):
        manifest["warmup_shapes"] = [[batch, min(length, longest or length)] for batch, length in WARMUP_SHAPES]
    if tokenizer is not None:
        manifest["tokenizer"] = {
            "model": tokenizer_files.GRAPH_FILE,
            "vocabulary": tokenizer_files.VOCABULARY_FILE,
        }
        if longest is not None:
            manifest["tokenizer"]["max_length"] = longest
    manifest["source"] = {
        "architecture": type(model).__name__,
        "transformers": transformers.__version__,
        "torch": str(torch.__version__),
    }
    return manifest


def _token_keys(model: Any, tokenizer: Any | None, longest: int | None) -> dict[str, Any]:
    keys = {"inputs": tracing.input_names(model), "vocabulary_size": tracing.vocabulary_size(model)}
    if longest is not None:
        keys["max_sequence_length"] = longest
    return {**keys, "pad_token_id": pad_token_id(model, tokenizer)}


def _image_keys(model: Any) -> dict[str, Any]:
    import torch

    pixels = vision.example_pixels(model, batch=1, seed=0)
    with torch.no_grad():
        positions = tracing.wrap(model)(pixels).shape[1]
    dtype = str(pixels.dtype).removeprefix("torch.")
    keys: dict[str, Any] = {
        "inputs": [{"name": "pixel_values", "dtype": dtype, "shape": [-1, *vision.pixel_shape(model)]}]
    }
    grid = vision.patch_grid(model, positions)
    return keys if grid is None else {**keys, "patch_grid": grid}
