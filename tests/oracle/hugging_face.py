"""Attention of a Hugging Face model folder by its own eager code in float64: the source of truth of the tests."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rollout_oracle import SequenceAttention


@lru_cache(maxsize=4)
def load(folder: Path, dtype: str = "float64", weights: str | None = None) -> Any:
    """The model, of an encoder-decoder model the encoder; eager attention, eval mode.

    It computes in `dtype`, with its weights as they are once loaded in the dtype `weights` (None: in `dtype`).
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModel.from_pretrained(
        str(folder), local_files_only=True, attn_implementation="eager", dtype=getattr(torch, weights or dtype)
    )
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        model = model.get_encoder()
    return model.eval() if weights in (None, dtype) else model.eval().to(getattr(torch, dtype))


@lru_cache(maxsize=2)
def tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, with the padding and truncation that its file may ask for switched off."""
    loaded = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    loaded.backend_tokenizer.no_truncation()
    loaded.backend_tokenizer.no_padding()
    return loaded


def attention(
    folder: Path,
    input_ids: Sequence[int],
    mask: Sequence[int] | None = None,
    dtype: str = "float64",
    weights: str | None = None,
) -> SequenceAttention:
    """Runs one sequence alone, with its mask (all valid if None).

    Give float32 where there is padding: many decoders compute softmax in float32 whatever their dtype, where the least
    float64, which stands for "masked", is minus infinity, so that rows that see no token are NaN and spread.
    """
    valid = [1] * len(input_ids) if mask is None else list(mask)
    with torch.no_grad():
        output = load(folder, dtype, weights)(
            input_ids=torch.tensor([list(input_ids)]),
            attention_mask=torch.tensor([valid]),
            output_attentions=True,
        )
    layers = [layer[0].float() if layer.dtype.itemsize == 2 else layer[0] for layer in output.attentions]
    return SequenceAttention([layer.numpy() for layer in layers], np.array(valid))
