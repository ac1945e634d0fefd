"""The small models are what the other tests think they are."""

import make_models
import numpy as np
import pytest
import tiny_modules
import torch

IDS = torch.tensor([[5, 17, 42, 8, 60, 23], [9, 9, 31, 77, 5, 6]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
ATTENDING = ("tiny-bert-sdpa", "tiny-bert-eager", "tiny-gpt2-sdpa", "ids-only", "bare-two-inputs", "control-flow")


def load(small_models, name):
    return torch.jit.load(small_models / name / "1" / "model.pt")


def test_made_once(small_models):
    assert not make_models.ensure(small_models, with_minilm=False)


def test_directory_of_others_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match="holds something else"):
        make_models.ensure(tmp_path, with_minilm=False)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("name", ATTENDING)
def test_attention_is_sharp_and_masked(name):
    mask = torch.ones_like(MASK) if name == "ids-only" else MASK
    for layer in make_models.attentions(name, IDS, mask):
        assert layer.dtype == np.float64 and layer.shape == (2, 4, 6, 6)
        valid = layer[:, :, :4]
        np.testing.assert_allclose(valid.sum(-1), 1, atol=1e-12)
        assert valid.max(-1).mean() > 0.4
        if name != "ids-only":
            assert not valid[1, :, :, 4:].any()


@pytest.mark.parametrize("name", ("bare-two-inputs", "bare-eager", "bare-gated", "control-flow", "nan-model", "throws"))
def test_naive_attention_belongs_to_the_module(small_models, name):
    """Feeding the naive probabilities' own recurrence ends in the bundle's output, at shapes that were not traced."""
    module = make_models.build(name).double()
    ids, mask = IDS[:, :5], MASK[:, :5]
    with torch.no_grad():
        attentions = tiny_modules.naive_attentions(module, ids, mask)
        hidden = module.tokens(ids) + module.positions.weight[:5]
        for number, attention in enumerate(attentions):
            if name == "control-flow":
                value, norm = hidden @ module.value[number], module.norm
            else:
                value, norm = module.layers[number].attention.value(hidden), module.layers[number].norm
            hidden = norm(hidden + torch.einsum("bhij,bjhd->bihd", attention, value.unflatten(-1, (4, -1))).flatten(-2))
        output = load(small_models, name)(ids, mask)
    assert float((output - hidden)[mask.bool()].abs().max()) < 1e-5


def test_poison_gives_nan_in_nan_model_alone(small_models):
    ids = IDS.clone()
    ids[0, 2] = tiny_modules.POISON_ID
    output = load(small_models, "nan-model")(ids, MASK)
    assert bool(output[0].isnan().any()) and not bool(output[1].isnan().any())


def test_poison_is_refused_by_throws(small_models):
    with pytest.raises(torch.jit.Error, match="the model refuses this token"):
        load(small_models, "throws")(torch.tensor([[5, tiny_modules.POISON_ID]]), torch.ones(1, 2, dtype=torch.int64))


def test_broken_does_not_load(small_models):
    with pytest.raises(RuntimeError):
        load(small_models, "broken")


def test_loop_survives_in_the_graph(small_models):
    graph = load(small_models, "control-flow").inlined_graph
    assert graph.findNode("prim::Loop") is not None
    assert len(graph.findAllNodes("aten::scaled_dot_product_attention", recurse=True)) == 1


@pytest.mark.parametrize("name", ATTENDING)
def test_oracle_file_holds_the_attention(small_models, name):
    oracle = torch.jit.load(small_models / ".oracle" / f"{name}.pt")
    expected = make_models.attentions(name, oracle.input_ids, oracle.attention_mask)
    np.testing.assert_allclose(oracle.attentions.numpy(), np.stack(expected), atol=1e-12)
