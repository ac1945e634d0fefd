"""Makes the models of the benchmark: `python tests/benchmark/make_models.py --output DIR NAME...`.

`DIR/NAME-sdpa` and, where the benchmark asks for it, `DIR/NAME-eager` become model repositories of the one model NAME,
exported as attribution-export does: an engine loads every model of its repository, which would disturb. The folder of
Hugging Face that they come from is `DIR/NAME`. The weights are random, the same ones every time. A model that was made
by the same scripts and versions is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[2] / "client" / "python" / "src"
sys.path[:0] = [str(_PACKAGE)]

VOCABULARY = 1000

# Attention of plain random weights is nearly uniform, which no trained model's is. With this standard deviation of the
# scores a row has a few large cells.
_SCORE_STANDARD_DEVIATION = 2.0


@dataclass(frozen=True)
class Size:
    """A model of GPT-2's or BERT's architecture; its MLP is four times as wide as `hidden`, as in both."""

    layers: int
    heads: int
    hidden: int
    max_length: int
    attentions: tuple[str, ...] = ("sdpa",)
    architecture: str = "gpt2"


MODELS = {
    "deep": Size(layers=28, heads=16, hidden=512, max_length=512, attentions=("sdpa", "eager")),
    "gpt2-small": Size(layers=12, heads=12, hidden=768, max_length=1024),
    "gpt2-small-4": Size(layers=4, heads=12, hidden=768, max_length=2048),
    # all-MiniLM-L6-v2 takes no more than 512 tokens.
    "minilm-2048": Size(layers=6, heads=12, hidden=384, max_length=2048, architecture="bert"),
}


def build(size: Size) -> Any:
    """The model, float32, always with the same weights."""
    import torch

    torch.manual_seed(19)
    return (build_bert if size.architecture == "bert" else build_gpt2)(size).eval()


def score_deviation(size: Size) -> float:
    """Of the weights of queries and keys: a score of normed input, the dot product over sqrt(head size), spreads by
    hidden x deviation^2."""
    return (_SCORE_STANDARD_DEVIATION / size.hidden) ** 0.5


def build_bert(size: Size) -> Any:
    import torch
    import transformers

    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=size.max_length,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for layer in model.encoder.layer:
            for linear in (layer.attention.self.query, layer.attention.self.key):
                linear.weight.normal_(std=score_deviation(size))
    return model


def build_gpt2(size: Size) -> Any:
    import torch
    import transformers

    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=size.max_length,
        n_embd=size.hidden,
        n_layer=size.layers,
        n_head=size.heads,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2Model(config)
    with torch.no_grad():
        for block in model.h:
            block.attn.c_attn.weight[:, : 2 * size.hidden].normal_(std=score_deviation(size))
    return model


def stamp(size: Size) -> str:
    """Identifies what a model is made from: its size, this script, the exporter, the versions of the libraries."""
    digest = hashlib.sha256(repr(size).encode())
    for source in [Path(__file__), *sorted((_PACKAGE / "attention_attribution" / "export").glob("*.py"))]:
        digest.update(source.read_bytes())
    for name in ("torch", "transformers"):
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()


def ensure(output: Path, name: str) -> None:
    """Makes the folder and the repositories of one model unless they are up to date."""
    folder = output / name
    wanted, current = stamp(MODELS[name]), output / f"{name}.stamp"
    if current.is_file() and current.read_text(encoding="utf-8") == wanted:
        return
    current.unlink(missing_ok=True)
    print(f"make_models: making {name}", file=sys.stderr, flush=True)
    import transformers
    from attention_attribution.export import export_model

    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(folder, ignore_errors=True)
    build(MODELS[name]).save_pretrained(str(folder))
    for attention in MODELS[name].attentions:
        repository = output / f"{name}-{attention}"
        shutil.rmtree(repository, ignore_errors=True)
        export_model(folder, repository / name, attention, with_tokenizer=False)
    current.write_text(wanted, encoding="utf-8")


def main() -> int:
    """Runs the script."""
    parser = argparse.ArgumentParser(description="Make the models of the benchmark.")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the models go")
    parser.add_argument("names", nargs="+", choices=MODELS, metavar="NAME", help=f"of: {', '.join(MODELS)}")
    options = parser.parse_args()
    for name in options.names:
        ensure(options.output, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
