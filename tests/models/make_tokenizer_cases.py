"""Makes the tokenizers of tests/models: `python tests/models/make_tokenizer_cases.py --output DIR`.

Writes for each family a directory `DIR/<family>` with the tokenizer's files as the exporter makes them, and
`cases.json`: a list of {"text", "ids", "tokens"} where ids and tokens come from Hugging Face's own tokenizer. Does
nothing if DIR was made by the same scripts and versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_EXPORT = _ROOT / "client" / "python" / "src" / "attention_attribution" / "export"
sys.path[:0] = [str(_ROOT / "tests" / "fixtures"), str(_ROOT / "client" / "python" / "src")]

# Characters on which OpenVINO's BERT normaliser is known to differ are left out; docs/bundle.md lists them.
TEXTS = [
    "",
    " ",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "  leading,  double   and trailing spaces  ",
    "tabs\tand\nnew\r\nlines\x0b\x0c\u00a0\u2003\u3000 of many kinds",
    "UPPER lower MiXeD İstanbul straße ﬁnal ΣΊΣΥΦΟΣ",
    "Café, naïve, Ångström, e\u0301clair, Zürich, Việt Nam",
    "a\u0300\u0301\u0302\u0303\u0304 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L",
    "Good morning 🌍🚀👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽 see you at 10:30!",
    "北京的天气很好 and 東京 too, 서울 한국어 カタカナ ひらがな 𠜎𠜱",
    "שלום עולם, مرحبا بالعالم \u200f\u202bright to left\u202c",
    "हिन्दी ไทย ქართული ᚠᚢᚦ አማርኛ ትግርኛ",
    "unaffable electroencephalography pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "don't can't 'tis we'll; (brackets) [SEP] [CLS] [MASK] [PAD] [UNK] <s> </s> ##ing",
    "$1,000.50 — “quoted” \u2018single\u2019 … ½ ² ™ € £ ~`|^_{}<>@#%&*+=\\/",
    "https://example.org/a?b=c&d=%20#e someone@example.org",
    "zero\u200bwidth\u200djoiner\ufeffmark soft\u00adhyphen",
    "control \x01\x02\x7f\x80\x9f characters",
    " ".join(f"word{number}, and" for number in range(300)),
    ("The cat sat on the mat; 北京 é 🌍 שלום. " * 3000)[:100_000],
    "abcdefghij" * 10_000,
    "é" * 100_000,
    "🌍" * 25_000,
]


def word_piece() -> Any:
    """The tokenizer of all-MiniLM-L6-v2, whose file cuts and pads at 128."""
    import minilm
    from attention_attribution.export import tokenizer

    return tokenizer.load(minilm.model_folder())


def trained_byte_level_bpe(special_tokens: list[str]) -> Any:
    """A byte-level BPE, trained on the texts above."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special_tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS[:20], trainer)
    return tokenizer


def byte_level_bpe() -> Any:
    """A byte-level BPE in GPT-2's form."""
    import transformers

    tokenizer = trained_byte_level_bpe(["<|endoftext|>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def byte_level_bpe_with_ends() -> Any:
    """A byte-level BPE in RoBERTa's form: every text between <s> and </s>."""
    import transformers
    from tokenizers import processors

    tokenizer = trained_byte_level_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def sentencepiece_unigram() -> Any:
    """A SentencePiece unigram model in T5's form: NFKC, a space as ▁, </s> at the end."""
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS[:20], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def sentencepiece_bpe() -> Any:
    """A SentencePiece BPE in Llama's form: a space as ▁, bytes for what has no piece, <s> at the start."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    all_bytes = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=["<unk>", "<s>", "</s>", *all_bytes], show_progress=False
    )
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in TEXTS[:20]], trainer)
    content = json.loads(tokenizer.to_str())  # bytes are pieces, not tokens that a text may name
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in all_bytes]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def has_one_best_cut(tokenizer: Any, text: str) -> bool:
    """Whether one way to cut the text into unigram pieces is better than all others.

    `...` is `..` and `.`, or `.` and `..`: the same pieces, the same score. Which is taken is not part of the model,
    and implementations differ.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if content["type"] != "Unigram":
        return True
    scores = dict(content["vocab"])
    unknown = min(scores.values()) - 10.0
    longest = max(map(len, scores))
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(normal):
        best, ways = [0.0], [1]  # of the first characters of the word
        for end in range(1, len(word) + 1):
            cuts = [
                (best[start] + scores.get(word[start:end], unknown), ways[start])
                for start in range(max(0, end - longest), end)
                if word[start:end] in scores or start == end - 1
            ]
            top = max(score for score, _ in cuts)
            best.append(top)
            ways.append(min(2, sum(count for score, count in cuts if top - score < 1e-6)))
        if ways[-1] > 1:
            return False
    return True


FAMILIES = {
    "word-piece": word_piece,
    "byte-level-bpe": byte_level_bpe,
    "byte-level-bpe-with-ends": byte_level_bpe_with_ends,
    "sentencepiece-unigram": sentencepiece_unigram,
    "sentencepiece-bpe": sentencepiece_bpe,
}


def stamp() -> str:
    """Identifies what the files are made from."""
    digest = hashlib.sha256()
    for source in [Path(__file__), *sorted(_EXPORT.glob("*.py"))]:
        digest.update(source.read_bytes())
    for name in ("transformers", "tokenizers", "openvino", "openvino-tokenizers"):
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()


def make(output: Path) -> None:
    """Writes every family into `output`."""
    from attention_attribution.export import tokenizer as exporter

    for family, build in FAMILIES.items():
        directory = output / family
        directory.mkdir(parents=True)
        tokenizer = build()
        exporter.write(tokenizer, directory)
        cases = []
        texts = [text for text in TEXTS if has_one_best_cut(tokenizer, text)]
        if len(texts) < len(TEXTS) - 6:
            raise RuntimeError(f"{family}: too many texts have several best cuts: {len(TEXTS) - len(texts)}")
        for text in texts:
            ids = tokenizer(text)["input_ids"]
            cases.append({"text": text, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)})
        (directory / "cases.json").write_text(json.dumps(cases), encoding="utf-8")


def main() -> int:
    """Runs the script."""
    parser = argparse.ArgumentParser(description="Make the tokenizers and expected ids of tests/models.")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="directory to make")
    output = parser.parse_args().output
    mark = output / "stamp"
    wanted = stamp()
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return 0
    shutil.rmtree(output, ignore_errors=True)
    make(output)
    mark.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
