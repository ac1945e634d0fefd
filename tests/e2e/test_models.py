"""ListModels and GetModel tell what is in the repository."""

import calls
import pytest
import yaml
from attribution.v1 import model_service_pb2

NAMES = [
    "bare-eager",
    "bare-gated",
    "bare-two-inputs",
    "broken",
    "control-flow",
    "ids-only",
    "layers-by-length",
    "minilm-eager",
    "minilm-sdpa",
    "nan-model",
    "no-attention",
    "throws",
    "tiny-bert-eager",
    "tiny-bert-sdpa",
    "tiny-gpt2-sdpa",
]


def list_models(server, **fields):
    return calls.model_stub(server).ListModels(model_service_pb2.ListModelsRequest(**fields), timeout=10)


def get_model(server, name: str) -> model_service_pb2.Model:
    return calls.model_stub(server).GetModel(model_service_pb2.GetModelRequest(model=name), timeout=10).model


def test_list_is_sorted_and_complete(server):
    reply = list_models(server)
    assert [model.name for model in reply.models] == NAMES
    assert not reply.next_page_token


def test_pages_hold_every_model_once(server):
    names, token = [], ""
    while True:
        page = list_models(server, page_size=4, page_token=token)
        assert len(page.models) <= 4
        names += [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            break
    assert names == NAMES


@pytest.mark.parametrize(
    ("name", "kind", "operator"),
    (
        ("minilm-sdpa", model_service_pb2.SITE_KIND_BLOCKED, "aten::scaled_dot_product_attention"),
        ("minilm-eager", model_service_pb2.SITE_KIND_BLOCKED, "aten::softmax"),
    ),
)
def test_minilm_says_what_it_is(server, model_repository, name, kind, operator):
    model = get_model(server, name)
    manifest = yaml.safe_load((model_repository / name / "1" / "manifest.yaml").read_text())
    assert model.version == "1"
    assert model.sha256 == manifest["sha256"]
    assert (model.num_layers, model.num_heads) == (6, 12)
    assert (model.vocabulary_size, model.max_sequence_length) == (30522, 512)
    assert [given.name for given in model.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert model.has_tokenizer
    assert model.resident_bytes > 80e6
    assert [site.kind for site in model.sites] == [kind] * 6
    assert {site.operator_name for site in model.sites} == {operator}
    assert model.sites[2].module_path.endswith("encoder.layer.2.attention.self")


def test_tapped_site_says_why(server):
    """Gates between probabilities and values: not an attention that can be computed in blocks."""
    model = get_model(server, "bare-gated")
    assert [site.kind for site in model.sites] == [model_service_pb2.SITE_KIND_TAPPED] * 2
    assert {site.tap_reason for site in model.sites} == {"aten::mul stands between its softmax and its values"}


def test_bare_model_is_described_from_its_graph(server):
    model = get_model(server, "bare-two-inputs")
    assert (model.num_layers, model.num_heads) == (2, 4)
    assert (model.vocabulary_size, model.max_sequence_length) == (1000, 64)
    assert [given.name for given in model.inputs] == ["input_ids", "attention_mask"]
    assert not model.has_tokenizer


def test_broken_model_says_why(server, model_repository):
    model = get_model(server, "broken")
    assert model.state == model_service_pb2.MODEL_STATE_FAILED
    assert model.load_error
    assert str(model_repository) not in model.load_error


def test_loop_runs_its_one_site_three_times(server):
    model = get_model(server, "control-flow")
    assert model.num_layers == 3
    assert [site.executions for site in model.sites] == [3]


def test_unknown_model(server):
    found = calls.failure(lambda: get_model(server, "no-such-model"))
    assert found.code.name == "NOT_FOUND"
