"""Paths and shared exports for the tests of the Python package and of the fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / "client" / "python" / "src"),
    str(ROOT / "tests" / "oracle"),
    str(ROOT / "tests" / "fixtures"),
]


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the small models, made afresh."""
    import make_models

    repository = tmp_path_factory.mktemp("models") / "repository"
    assert make_models.ensure(repository, with_minilm=False)
    return repository


@pytest.fixture(scope="session")
def tiny_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with the tiny BERT and its tokenizer."""
    import tiny_transformers

    folder = tmp_path_factory.mktemp("tiny-bert")
    tiny_transformers.tiny_bert().save_pretrained(folder)
    tiny_transformers.tiny_tokenizer().save_pretrained(folder)
    return folder
