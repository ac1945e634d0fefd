"""Attention of a Hugging Face model folder by its own eager code in float64: the source of truth of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rollout_oracle import SequenceAttention


@lru_cache(maxsize=2)
def load(folder: Path) -> Any:
    """The model, eager attention, float64, eval mode."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModel.from_pretrained(
        str(folder), local_files_only=True, attn_implementation="eager", dtype=torch.float64
    )
    return model.eval()


@lru_cache(maxsize=2)
def tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, with the padding and truncation that its file may ask for switched off."""
    loaded = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    loaded.backend_tokenizer.no_truncation()
    loaded.backend_tokenizer.no_padding()
    return loaded


def attention(folder: Path, input_ids: Sequence[int], mask: Sequence[int] | None = None) -> SequenceAttention:
    """Runs one sequence alone, with its mask (all valid if None)."""
    valid = [1] * len(input_ids) if mask is None else list(mask)
    with torch.no_grad():
        output = load(folder)(
            input_ids=torch.tensor([list(input_ids)]),
            attention_mask=torch.tensor([valid]),
            output_attentions=True,
        )
    return SequenceAttention([layer[0].numpy() for layer in output.attentions], np.array(valid))
