"""Frozen exports, half precision, and models of unusual sizes: each is what the model was, at other shapes too."""

import architectures
import pytest
import torch
import transformers
import yaml
from attention_attribution.export import ExportError, bundle, export_model, tracing, verification


def read_manifest(directory):
    return yaml.safe_load((directory / "manifest.yaml").read_text(encoding="utf-8"))


def load(directory):
    return torch.jit.load(directory / "model.pt")


def inputs(batch, length, names=2):
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(10, 50, (batch, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1::2, length // 2 :] = 0
    return (ids, mask, torch.zeros_like(ids))[:names]


def small(name, **settings):
    """A model of two layers and two heads by its architecture's name."""
    torch.manual_seed(4)
    common = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    common |= {"intermediate_size": 16, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1}
    config = getattr(transformers, f"{name}Config")(**{**common, "eos_token_id": 2, **settings})
    return transformers.AutoModel.from_config(config, attn_implementation="sdpa").eval()


@pytest.mark.parametrize("attention", ("sdpa", "eager"))
def test_frozen_model_is_the_same_without_modules(tiny_bert_folder, tmp_path, attention):
    lines = []
    whole = export_model(tiny_bert_folder, tmp_path / "whole", attention, with_tokenizer=False)
    frozen = export_model(
        tiny_bert_folder, tmp_path / "frozen", attention, with_tokenizer=False, freeze=True, progress=lines.append
    )
    assert [read_manifest(directory)["frozen"] for directory in (whole, frozen)] == [False, True]
    assert any(line.startswith("frozen: ") for line in lines)
    module = load(frozen)
    assert not list(module.parameters()) and not list(module.children())
    assert len(list(module.graph.nodes())) < len(list(load(whole).inlined_graph.nodes()))
    assert (frozen / "model.pt").stat().st_size < (whole / "model.pt").stat().st_size
    for shape in ((1, 1), (3, 29)):
        ids = inputs(*shape, names=3)
        valid = ids[1].bool()
        torch.testing.assert_close(module(*ids)[valid], load(whole)(*ids)[valid], rtol=0, atol=1e-6)


def test_frozen_trace_is_verified(tiny_bert_folder, tmp_path, monkeypatch):
    right = torch.jit.freeze

    def wrong(traced, **options):
        with torch.no_grad():
            traced.bert.encoder.layer.__getattr__("0").output.dense.bias.add_(torch.arange(32))
        return right(traced, **options)

    def verify(traced, model, dtype, longest):
        with torch.no_grad():
            model.encoder.layer[0].output.dense.bias.sub_(torch.arange(32))
        return original(traced, model, dtype, longest)

    original = verification.verify
    monkeypatch.setattr(torch.jit, "freeze", wrong)
    monkeypatch.setattr(verification, "verify", verify)
    with pytest.raises(ExportError, match="does not reproduce the model"):
        export_model(tiny_bert_folder, tmp_path / "repository" / "tiny", with_tokenizer=False, freeze=True)


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
@pytest.mark.parametrize("name", ("Bert", "GPT2", "Llama"))
def test_half_precision(tmp_path, name, dtype):
    """Every value stays in the dtype, and the result is near that of float32."""
    model = small(name, **({"n_positions": 64} if name == "GPT2" else {}))
    ids = inputs(3, 11)
    valid = ids[1].bool()
    with torch.no_grad():
        expected = model(*ids[:1], attention_mask=ids[1]).last_hidden_state[valid]
    model.save_pretrained(tmp_path / "folder")
    for attention in ("sdpa", "eager"):
        directory = export_model(tmp_path / "folder", tmp_path / attention, attention, dtype, with_tokenizer=False)
        assert read_manifest(directory)["dtype"] == dtype
        traced = load(directory)
        assert {weights.dtype for weights in traced.parameters()} == {getattr(torch, dtype)}
        names = len(read_manifest(directory)["inputs"])
        got = traced(*inputs(3, 11, names))[valid]
        assert got.dtype == getattr(torch, dtype)
        assert float((got.float() - expected).abs().max()) < 3e-2


def test_sharp_attention_in_half_precision_is_held_to_what_the_model_itself_does():
    """T5 does not scale its scores: its own eager attention in bfloat16 is further off than the fixed bound."""
    model = architectures.ARCHITECTURES["t5-encoder"].build().to(torch.bfloat16)
    model.set_attn_implementation("sdpa")
    traced = tracing.trace(model)
    difference, bound = verification.verify(traced, model, "bfloat16", None)
    assert verification.BOUND["bfloat16"] < difference <= bound
    assert model.config._attn_implementation == "sdpa"
    assert model.dtype == torch.bfloat16
    with torch.no_grad():
        traced.transformer.encoder.final_layer_norm.weight.mul_(1.5)  # the model's too, they share it
    with pytest.raises(ExportError, match="does not reproduce the model"):
        unchanged = architectures.ARCHITECTURES["t5-encoder"].build().to(torch.bfloat16)
        verification.verify(traced, unchanged, "bfloat16", None)


@pytest.mark.parametrize(("name", "settings"), (("Bert", {}), ("Llama", {"num_key_value_heads": 1})))
def test_one_layer_with_one_head(tmp_path, name, settings):
    model = small(name, num_hidden_layers=1, num_attention_heads=1, **settings)
    directory = bundle.write_bundle(model, None, tmp_path / "one", "sdpa", "float32", freeze=True)
    manifest = read_manifest(directory)
    assert (manifest["num_layers"], manifest["num_heads"]) == (1, 1)
    assert load(directory)(*inputs(2, 9, len(manifest["inputs"]))).shape == (2, 9, 16)


@pytest.mark.parametrize("longest", (1, 4, 10))
def test_few_positions(tmp_path, longest):
    """Traced, verified and warmed up at lengths that the model has."""
    directory = bundle.write_bundle(
        small("Bert", max_position_embeddings=longest), None, tmp_path / "short", "sdpa", "float32"
    )
    manifest = read_manifest(directory)
    assert manifest["max_sequence_length"] == longest
    assert manifest["warmup_shapes"] == [[1, min(8, longest)], [2, longest]]
    assert load(directory)(*inputs(2, longest, 3)).shape == (2, longest, 16)


@pytest.mark.parametrize("name", ("Bart", "Marian", "MT5"))
def test_encoders(tmp_path, name):
    settings = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
    settings |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_layers": 2}
    settings |= {"num_decoder_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 16, "decoder_start_token_id": 2}
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
        settings[key] = {"hidden_size": 16}.get(key, 2)
    model = small(name, **settings)
    model.save_pretrained(tmp_path / "folder")
    directory = export_model(tmp_path / "folder", tmp_path / "encoder", with_tokenizer=False)
    manifest = read_manifest(directory)
    assert manifest["inputs"] == ["input_ids", "attention_mask"]
    assert (manifest["num_layers"], manifest["num_heads"]) == (2, 2)
    ids, mask = inputs(2, 9)
    with torch.no_grad():
        expected = model.get_encoder()(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(load(directory)(ids, mask)[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5)
