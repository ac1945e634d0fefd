"""What an export writes, and what it refuses to write."""

import hashlib

import pytest
import torch
import yaml
from attention_attribution.export import ExportError, bundle, export_model, tracing, verification
from attention_attribution.export import tokenizer as tokenizer_files


def read_manifest(directory):
    return yaml.safe_load((directory / "manifest.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("attention", ("sdpa", "eager"))
def test_manifest_describes_the_model(tiny_bert_folder, tmp_path, attention):
    directory = export_model(tiny_bert_folder, tmp_path / "tiny", attention)
    manifest = read_manifest(directory)
    source = manifest.pop("source")
    assert source["architecture"] == "BertModel"
    assert manifest == {
        "format_version": 1,
        "name": "tiny",
        "sha256": hashlib.sha256((directory / "model.pt").read_bytes()).hexdigest(),
        "attention": attention,
        "dtype": "float32",
        "frozen": False,
        "inputs": ["input_ids", "attention_mask", "token_type_ids"],
        "vocabulary_size": 100,
        "max_sequence_length": 64,
        "pad_token_id": 0,
        "num_layers": 3,
        "num_heads": 4,
        "attention_layer_pattern": "",
        "warmup_shapes": [[1, 8], [2, 13]],
        "tokenizer": {"model": "tokenizer.xml", "vocabulary": "tokenizer.json", "max_length": 64},
    }


def test_position_table_with_a_padding_index_holds_fewer_tokens(tmp_path):
    import transformers

    config = transformers.RobertaConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        pad_token_id=1,
        type_vocab_size=1,
    )
    model = transformers.RobertaModel(config).eval()
    manifest = read_manifest(bundle.write_bundle(model, None, tmp_path / "roberta", "sdpa", "float32"))
    assert manifest["max_sequence_length"] == 32
    assert manifest["pad_token_id"] == 1
    assert manifest["inputs"] == ["input_ids", "attention_mask"]
    traced = torch.jit.load(tmp_path / "roberta" / "1" / "model.pt")
    assert traced(torch.full((1, 32), 5), torch.ones(1, 32, dtype=torch.int64)).shape == (1, 32, 16)


def test_forward_names_its_inputs_and_modules_keep_their_paths(tiny_bert_folder, tmp_path):
    directory = export_model(tiny_bert_folder, tmp_path / "tiny", with_tokenizer=False)
    traced = torch.jit.load(directory / "model.pt")
    names = [argument.name for argument in traced.forward.schema.arguments]
    assert names == ["self", "input_ids", "attention_mask", "token_type_ids"]
    assert "bert.encoder.layer.2.attention.self" in [name for name, _ in traced.named_modules()]


def test_model_without_fused_attention_says_which_flag_helps(tmp_path):
    import transformers

    small = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.MPNetModel(transformers.MPNetConfig(**small, intermediate_size=16)).save_pretrained(tmp_path)
    with pytest.raises(ExportError, match=r"^MPNetModel has no fused attention. Pass --attention eager.$"):
        export_model(tmp_path, tmp_path / "repository" / "mpnet")
    assert read_manifest(export_model(tmp_path, tmp_path / "repository" / "mpnet", "eager"))["attention"] == "eager"


def test_of_an_encoder_decoder_the_encoder_is_exported(tmp_path):
    import transformers

    config = transformers.T5Config(vocab_size=50, d_model=16, num_layers=2, num_heads=2, d_kv=8, d_ff=16)
    transformers.T5EncoderModel(config).save_pretrained(tmp_path)
    manifest = read_manifest(export_model(tmp_path, tmp_path / "repository" / "t5"))
    assert manifest["source"]["architecture"] == "T5Stack"
    assert "max_sequence_length" not in manifest


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
def test_half_precision(tiny_bert_folder, tmp_path, dtype):
    directory = export_model(tiny_bert_folder, tmp_path / "tiny", dtype=dtype, with_tokenizer=False)
    assert read_manifest(directory)["dtype"] == dtype
    assert next(torch.jit.load(directory / "model.pt").parameters()).dtype == getattr(torch, dtype)


def test_trace_that_does_not_reproduce_the_model_is_not_written(tiny_bert_folder, tmp_path, monkeypatch):
    right = tracing.trace

    def wrong(model, longest):
        traced = right(model, longest)
        with torch.no_grad():
            model.encoder.layer[0].output.dense.bias[0].add_(5)
        return traced

    # The file keeps the changed bias, the module it is held against gets the old one back.
    def verify(traced, model, dtype, longest):
        with torch.no_grad():
            model.encoder.layer[0].output.dense.bias[0].sub_(5)
        return original(traced, model, dtype, longest)

    original = verification.verify
    monkeypatch.setattr(tracing, "trace", wrong)
    monkeypatch.setattr(verification, "verify", verify)
    with pytest.raises(ExportError, match="does not reproduce the model"):
        export_model(tiny_bert_folder, tmp_path / "repository" / "tiny", with_tokenizer=False)
    assert not (tmp_path / "repository").exists()


def test_tokenizer_with_other_ids_is_not_written(tiny_bert_folder, tmp_path, monkeypatch):
    class Shifted:
        def __init__(self, tokenizer):
            self.tokenizer = tokenizer
            self.backend_tokenizer = tokenizer.backend_tokenizer

        def __call__(self, text):
            return {"input_ids": [number + 1 for number in self.tokenizer(text)["input_ids"]]}

    tokenizer = tokenizer_files.load(tiny_bert_folder)
    tokenizer_files.write(tokenizer, tmp_path)
    with pytest.raises(ExportError, match="other ids than Hugging Face's"):
        tokenizer_files._check_ids(Shifted(tokenizer), tmp_path / "tokenizer.xml")


def test_running_export_is_invisible_and_a_taken_version_is_skipped(tmp_path, monkeypatch):
    output = tmp_path / "name"
    with bundle._new_version(output) as directory:
        assert directory.name.startswith(".")
        (directory / "model.pt").write_bytes(b"x")
        (output / "1").mkdir()
        (output / "1" / "model.pt").write_bytes(b"other")
        assert bundle._publish(directory, output) == output / "2"
    assert sorted(path.name for path in output.iterdir()) == ["1", "2"]
    assert (output / "1" / "model.pt").read_bytes() == b"other"


def test_token_strings_of_every_kind_of_vocabulary(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "[X]"}]}')
    assert tokenizer_files.token_strings(path) == {0: "a", 1: "b", 2: "[X]"}
    path.write_text('{"model": {"vocab": [["<s>", 0.0], ["a", -1.5]]}}')
    assert tokenizer_files.token_strings(path) == {0: "<s>", 1: "a"}
