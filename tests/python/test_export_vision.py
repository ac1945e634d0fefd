"""Export of models of images: what the manifest says, and that the trace is the model's eager attention."""

import pytest
import tensor_models
import torch
import transformers
import yaml
from attention_attribution.export import ExportError, export_model, tracing, verification

SETTINGS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
SETTINGS |= {"image_size": 16, "patch_size": 4}
# Positions in front of the patches: the class token, of DeiT also that of distillation.
FIRST_POSITION = {"ViT": 1, "Deit": 2, "Beit": 1}
CONFIGS = {"ViT": "ViTConfig", "Deit": "DeiTConfig", "Beit": "BeitConfig"}


def folder_of(tmp_path, name, with_head=False):
    torch.manual_seed(5)
    config = getattr(transformers, CONFIGS[name])(**SETTINGS)
    auto = transformers.AutoModelForImageClassification if with_head else transformers.AutoModel
    folder = tmp_path / "folder"
    auto.from_config(config).save_pretrained(folder)
    return folder


def manifest_of(version):
    return yaml.safe_load((version / "manifest.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CONFIGS)
def test_manifest_declares_the_image(tmp_path, name, attention):
    version = export_model(folder_of(tmp_path, name), tmp_path / "repository" / "m", attention)
    manifest = manifest_of(version)
    assert manifest["inputs"] == [{"name": "pixel_values", "dtype": "float32", "shape": [-1, 3, 16, 16]}]
    assert manifest["patch_grid"] == {"rows": 4, "columns": 4, "first_position": FIRST_POSITION[name]}
    assert (manifest["num_layers"], manifest["num_heads"]) == (2, 2)
    assert not {"vocabulary_size", "pad_token_id", "warmup_shapes", "tokenizer"} & set(manifest)


def test_classifier_is_exported_without_its_head(tmp_path):
    version = export_model(folder_of(tmp_path, "ViT", with_head=True), tmp_path / "repository" / "m")
    assert manifest_of(version)["source"]["architecture"] == "ViTModel"
    assert torch.jit.load(version / "model.pt")(torch.zeros(3, 3, 16, 16)).shape == (3, 17, 16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype_of_the_image_is_that_of_the_weights(tmp_path, dtype):
    version = export_model(folder_of(tmp_path, "ViT"), tmp_path / "repository" / "m", dtype=dtype)
    assert manifest_of(version)["inputs"][0]["dtype"] == dtype


def test_wrong_trace_is_refused():
    model, other = tensor_models.vit(), tensor_models.vit()
    with torch.no_grad():
        other.layernorm.bias.add_(0.1 * torch.arange(32))
    with pytest.raises(ExportError, match=r"does not reproduce the model: difference .* images"):
        verification.verify(tracing.trace(other), model, "float32", None)
