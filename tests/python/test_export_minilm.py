"""all-MiniLM-L6-v2: the trace at other shapes, and its tokenizer."""

import hugging_face
import minilm
import pytest
import torch
from attention_attribution.export import export_model


@pytest.fixture(scope="module", params=("sdpa", "eager"))
def directory(request, tmp_path_factory):
    return export_model(minilm.model_folder(), tmp_path_factory.mktemp("minilm") / "minilm", request.param)


def test_trace_equals_hugging_face_in_float64(directory):
    traced = torch.jit.load(directory / "model.pt")
    reference = hugging_face.load(minilm.model_folder())
    for batch, length in ((1, 1), (5, 31), (1, 512)):
        generator = torch.Generator().manual_seed(length)
        ids = torch.randint(1000, 30000, (batch, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[1::2, length - length // 4 :] = 0
        with torch.no_grad():
            got = traced(ids, mask, torch.zeros_like(ids))
            expected = reference(input_ids=ids, attention_mask=mask).last_hidden_state
        assert float((got - expected)[mask.bool()].abs().max()) < 1e-4


def test_tokenizer_neither_cuts_nor_pads(directory):
    import openvino
    import openvino_tokenizers  # noqa: F401

    compiled = openvino.Core().compile_model(str(directory / "tokenizer.xml"), "CPU")
    tokenizer = hugging_face.tokenizer(minilm.model_folder())
    for text in ("", "short", "[SEP] and [MASK] written out", "word " * 700, "é 🌍 北京\n\ttab"):
        assert compiled([text])["input_ids"][0].tolist() == tokenizer(text)["input_ids"], text[:20]
