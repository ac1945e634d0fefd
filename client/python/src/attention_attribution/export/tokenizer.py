"""Converts a Hugging Face tokenizer to the files that the server reads, and proves the conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import ExportError, first_line

GRAPH_FILE = "tokenizer.xml"
VOCABULARY_FILE = "tokenizer.json"

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)

# Texts whose ids must agree. The last is far longer than the 128 tokens at which some tokenizer files cut.
SAMPLE_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Café, naïve, Ångström, e\u0301clair — “quoted”",
    "Good morning 🌍🚀, see you at 10:30!",
    "北京的天气很好 and 東京 too",
    "unaffable electroencephalography",
    " ".join(f"word{number}, and" for number in range(300)),
)


def load(folder: Path) -> Any | None:
    """Loads the folder's fast tokenizer with padding and truncation off; None if the folder has no tokenizer."""
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise ExportError(f"The tokenizer does not load: {first_line(error)}. Pass --without-tokenizer.") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ExportError(f"The tokenizer is not a fast one: {type(tokenizer).__name__}. Pass --without-tokenizer.")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    # Some files bound the length here too; the server's own limit is the only one.
    tokenizer.model_max_length = int(1e9)
    return tokenizer


def write(tokenizer: Any, directory: Path) -> None:
    """Writes tokenizer.xml, tokenizer.bin and tokenizer.json into `directory`, then checks them.

    Raises ExportError if the converted tokenizer gives other ids than Hugging Face's for one of SAMPLE_TEXTS, or if
    tokenizer.json does not name every id that they use.
    """
    import openvino
    from openvino_tokenizers import convert_tokenizer

    try:
        graph = convert_tokenizer(tokenizer, with_detokenizer=False, add_special_tokens=True, truncation=False)
    except Exception as error:
        raise ExportError(f"The tokenizer does not convert: {first_line(error)}. Pass --without-tokenizer.") from error
    openvino.save_model(graph, str(directory / GRAPH_FILE), compress_to_fp16=False)
    del graph
    tokenizer.backend_tokenizer.save(str(directory / VOCABULARY_FILE))
    used = _check_ids(tokenizer, directory / GRAPH_FILE)
    unnamed = sorted(used - token_strings(directory / VOCABULARY_FILE).keys())
    if unnamed:
        raise ExportError(f"tokenizer.json has no string for token ids {unnamed[:5]}. Pass --without-tokenizer.")


def token_strings(path: Path) -> dict[int, str]:
    """Reads id -> token from tokenizer.json: WordPiece and BPE keep a dictionary, Unigram a list of pairs."""
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        strings = {number: token for token, number in vocabulary.items()}
    else:
        strings = {number: entry[0] for number, entry in enumerate(vocabulary)}
    strings.update({entry["id"]: entry["content"] for entry in content.get("added_tokens", [])})
    return strings


def _check_ids(tokenizer: Any, graph_path: Path) -> set[int]:
    import openvino
    import openvino_tokenizers  # noqa: F401  registers the tokenizer operators with OpenVINO

    compiled = openvino.Core().compile_model(str(graph_path), "CPU")
    used: set[int] = set()
    for text in SAMPLE_TEXTS:
        expected = tokenizer(text)["input_ids"]
        got = [int(number) for number in compiled([text])["input_ids"][0]]
        if got != expected:
            raise ExportError(
                f"The converted tokenizer gives other ids than Hugging Face's for {text[:40]!r}: {got[:8]} instead of "
                f"{expected[:8]} ({len(got)} and {len(expected)} ids). Pass --without-tokenizer."
            )
        used.update(expected)
    return used
