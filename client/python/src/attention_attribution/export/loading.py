"""Loads a Hugging Face model folder, and refuses what would load but be another model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from .errors import ExportError, first_line


def load_model(folder: Path, attention: str, dtype: str) -> Any:
    """Loads the model in eval mode; of an encoder-decoder model the encoder."""
    import torch
    import transformers

    if not (folder / "config.json").is_file():
        raise ExportError(f"Not a Hugging Face model folder: {folder} has no config.json.")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        _check_attention(config, attention)
        whole, report = transformers.AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation=attention,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(_reason(error, attention)) from error
    model = whole.get_encoder() if "decoder_input_ids" in inspect.signature(whole.forward).parameters else whole
    _check_complete(whole, model, report["missing_keys"])
    return model.eval()


def _check_attention(config: Any, attention: str) -> None:
    """Raises ExportError for attention that torch's fused operator cannot compute and Hugging Face lets pass."""
    cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    if attention == "sdpa" and cap is not None:
        raise ExportError(
            f"Fused attention leaves out the soft cap of this model's scores: attn_logit_softcapping is {cap}. "
            f"Pass --attention eager."
        )


def _check_complete(whole: Any, model: Any, missing: Any) -> None:
    """Raises ExportError if weights of `model` were not in the folder: Hugging Face makes them up at random."""
    kept = {id(parameter) for parameter in model.parameters()}
    # Poolers follow the hidden values that are exported, and many folders come without one.
    made_up = sorted(
        name
        for name, parameter in whole.named_parameters()
        if name in missing and id(parameter) in kept and "pooler" not in name.split(".")
    )
    if made_up:
        more = f" and {len(made_up) - 1} more" if len(made_up) > 1 else ""
        raise ExportError(f"The folder lacks weights of {type(model).__name__}: {made_up[0]}{more}. Complete it.")


def _reason(error: Exception, attention: str) -> str:
    text = str(error).strip()
    if attention == "sdpa" and "does not support an attention implementation" in text:
        return f"{text.split()[0]} has no fused attention. Pass --attention eager."
    if "trust_remote_code" in text:
        return (
            "The model needs code that comes with its folder, which is not run. Export a model that transformers has."
        )
    return f"The model does not load: {first_line(error)}."
