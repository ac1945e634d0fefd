"""What cannot be exported is refused in one sentence, and nothing is left behind."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_transformers
import torch
import transformers
from attention_attribution.export import ExportError, bundle, export_model

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}


def small_bert(kind=transformers.BertModel):
    torch.manual_seed(3)
    return kind(transformers.BertConfig(**SMALL, attn_implementation="eager")).eval()


def refusal_of_folder(folder: Path, **options) -> str:
    output = folder.parent / "repository" / "name"
    with pytest.raises(ExportError) as refused:
        export_model(folder, output, with_tokenizer=False, **options)
    assert not output.parent.exists()
    return str(refused.value)


def refusal_of_model(model, tmp_path: Path, attention="eager", dtype="float32") -> str:
    output = tmp_path / "repository" / "name"
    with pytest.raises(ExportError) as refused:
        bundle.write_bundle(model, None, output, attention, dtype)
    assert not output.parent.exists()
    return str(refused.value)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "folder"


def test_soft_capped_scores_are_no_fused_attention(folder):
    """Refused by the configuration alone: this folder has no weights to verify anything with."""
    transformers.Gemma2Config(attn_logit_softcapping=30.0).save_pretrained(folder)
    assert refusal_of_folder(folder) == (
        "Fused attention leaves out the soft cap of this model's scores: attn_logit_softcapping is 30.0. "
        "Pass --attention eager."
    )
    assert "does not load" in refusal_of_folder(folder, attention="eager")


@pytest.mark.parametrize("config", ("{", "{}", '{"model_type": "nonesuch"}', '{"model_type": "bert"}'))
def test_folder_with_a_configuration_and_no_model(folder, config):
    folder.mkdir()
    (folder / "config.json").write_text(config)
    assert refusal_of_folder(folder).startswith("The model does not load: ")


def test_code_of_the_folder_is_not_run(folder):
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}')
    (folder / "own.py").write_text("raise SystemExit('was run')")
    assert refusal_of_folder(folder).startswith("The model needs code that comes with its folder, which is not run.")


def save_without(model, folder: Path, ending: str) -> None:
    model.save_pretrained(folder)
    weights = {name: value for name, value in model.state_dict().items() if not name.endswith(ending)}
    from safetensors.torch import save_file

    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_are_not_there_are_not_made_up(folder):
    save_without(small_bert(), folder, "self.query.weight")
    assert refusal_of_folder(folder) == (
        "The folder lacks weights of BertModel: encoder.layer.0.attention.self.query.weight. Complete it."
    )


def test_a_pooler_may_be_missing(folder, tmp_path):
    save_without(small_bert(), folder, "pooler.dense.weight")
    export_model(folder, tmp_path / "repository" / "name", with_tokenizer=False)


def test_one_weight_that_is_not_a_number(tmp_path):
    """Of a token that no verification draws."""
    model = small_bert()
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[1, 3] = float("nan")
    message = refusal_of_model(model, tmp_path)
    assert message.startswith("The weights hold NaN or Inf: embeddings.word_embeddings.weight in float32.")


def test_weights_that_float16_cannot_hold(folder, tmp_path):
    model = small_bert()
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[1, 3] = 1e5
    model.save_pretrained(folder)
    assert "embeddings.word_embeddings.weight in float16" in refusal_of_folder(folder, dtype="float16")
    export_model(folder, tmp_path / "repository" / "name", dtype="bfloat16", with_tokenizer=False)


def test_numbers_that_leave_float16_on_the_way(tmp_path):
    """Weights that float16 holds may make values that it does not."""
    model = small_bert()
    with torch.no_grad():
        model.encoder.layer[0].intermediate.dense.bias += 6e4
        model.encoder.layer[0].output.dense.weight += 1
    message = refusal_of_model(model.half(), tmp_path, dtype="float16")
    assert "gives values that are not finite" in message and "in float16" in message


class NeedsCache(transformers.BertModel):
    def forward(self, input_ids, attention_mask, past_key_values):
        return super().forward(input_ids, attention_mask)


def test_input_that_no_request_gives(tmp_path):
    message = refusal_of_model(small_bert(NeedsCache), tmp_path)
    assert message.startswith("The model does not run without inputs that no request gives: NeedsCache needs past_key")


class NoHalfPrecision(transformers.BertModel):
    def forward(self, input_ids, attention_mask, **options):
        output = super().forward(input_ids, attention_mask, **options)
        torch.linalg.det(output.last_hidden_state[:, :2, :2])
        return output


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
def test_operation_without_half_precision(tmp_path, dtype):
    model = small_bert(NoHalfPrecision)
    bundle.write_bundle(model, None, tmp_path / "whole" / "name", "eager", "float32")
    message = refusal_of_model(model.to(getattr(torch, dtype)), tmp_path, dtype=dtype)
    assert message.startswith("The model does not trace to TorchScript: NoHalfPrecision: ")
    assert message.endswith("Pass --dtype float32, or the other half precision.")


class FixedLength(transformers.BertModel):
    def forward(self, input_ids, attention_mask, **options):
        output = super().forward(input_ids, attention_mask, **options)
        length = input_ids.shape[1]
        output.last_hidden_state = output.last_hidden_state + torch.zeros(int(length), 1)
        return output


def test_length_that_the_trace_fixed(tmp_path):
    assert refusal_of_model(small_bert(FixedLength), tmp_path).startswith("The trace does not run at 1 x 5 tokens: ")


class WindowTracedAway(transformers.MistralModel):
    def forward(self, input_ids, attention_mask, **options):
        output = super().forward(input_ids, attention_mask, use_cache=False, **options)
        if input_ids.shape[1] > self.config.sliding_window:
            output.last_hidden_state = output.last_hidden_state / 2
        return output


def test_window_longer_than_the_usual_lengths(tmp_path):
    settings = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 128, "sliding_window": 60}
    model = WindowTracedAway(transformers.MistralConfig(**settings, attn_implementation="eager")).eval()
    assert "at 1 x 76 tokens" in refusal_of_model(model, tmp_path)


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(context, value):
        return 2 * value


class InPython(transformers.BertModel):
    def forward(self, input_ids, attention_mask, **options):
        output = super().forward(input_ids, attention_mask, **options)
        output.last_hidden_state = Doubling.apply(output.last_hidden_state)
        return output


def test_code_that_torchscript_cannot_hold(tmp_path):
    message = refusal_of_model(small_bert(InPython), tmp_path)
    assert message.startswith("TorchScript cannot hold the model: Could not export Python function call 'Doubling'")


def test_model_without_attention(tmp_path):
    model = transformers.FNetModel(transformers.FNetConfig(**SMALL, attn_implementation="eager")).eval()
    assert refusal_of_model(model, tmp_path).startswith("The trace holds no eager attention: FNetModel.")


@pytest.mark.parametrize("name", ("with space", "-first", ".hidden", "ä", "a\nb", ".."))
def test_name_that_the_server_would_ignore(tiny_bert_folder, tmp_path, name):
    with pytest.raises(ExportError, match=r"^Not a model's name: "):
        export_model(tiny_bert_folder, tmp_path / "repository" / name)
    assert not list(tmp_path.iterdir())


def test_output_below_a_file(tmp_path):
    (tmp_path / "file").write_text("of somebody else")
    with pytest.raises(ExportError, match=r"^Cannot write to .*file/name: Not a directory.$"):
        bundle.write_bundle(small_bert(), None, tmp_path / "file" / "name", "eager", "float32")
    assert (tmp_path / "file").read_text() == "of somebody else"


def test_full_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    model = small_bert()
    message = refusal_of_model(model, tmp_path)
    assert message.endswith(f"is too full: 1000 bytes are free, the weights need {4 * model.num_parameters()}.")


def test_failure_leaves_earlier_versions_alone(tiny_bert_folder, tmp_path):
    output = tmp_path / "repository" / "tiny"
    first = export_model(tiny_bert_folder, output, with_tokenizer=False)
    model = tiny_transformers.tiny_bert()
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] = float("inf")
    with pytest.raises(ExportError):
        bundle.write_bundle(model, None, output, "eager", "float32")
    assert [path.name for path in output.iterdir()] == ["1"]
    assert json.dumps(sorted(path.name for path in first.iterdir())) == '["manifest.yaml", "model.pt"]'
