"""Models of many architectures, as Hugging Face builds them: what the server finds in them and what it computes.

The truth is Hugging Face's own eager attention of one sequence alone, and the naive rollout over it.
"""

from __future__ import annotations

from pathlib import Path

import architectures
import programs
import pytest
from architecture_oracle import MASKED, MASKS, RAGGED, assert_equals_oracle, get_model, ids, oracles
from architectures import ARCHITECTURES
from attention_attribution.export import ExportError, export_model
from attribution.v1 import model_service_pb2

pytestmark = pytest.mark.usefixtures("one_thread")
BUNDLES = [
    pytest.param(name, attention, id=f"{name}-{attention}")
    for name, architecture in ARCHITECTURES.items()
    for attention in architecture.attentions
]


@pytest.fixture(scope="module")
def repository(architecture_repository: Path) -> Path:
    return architecture_repository


@pytest.fixture(scope="module")
def server(architecture_server: programs.ServerProcess) -> programs.ServerProcess:
    return architecture_server


@pytest.mark.parametrize(("name", "attention"), BUNDLES)
def test_ragged_batch(server, repository, name, attention):
    assert_equals_oracle(server, repository, name, attention, RAGGED)


@pytest.mark.parametrize(("name", "attention"), BUNDLES)
def test_masks(server, repository, name, attention):
    assert_equals_oracle(server, repository, name, attention, MASKED, list(MASKS.values()))


@pytest.mark.parametrize("name", ("bert", "llama"))
def test_the_other_order_of_multiplication(server, repository, name):
    assert_equals_oracle(server, repository, name, "sdpa", RAGGED, preset="ICLR_METRICS")


@pytest.mark.parametrize(("name", "attention"), BUNDLES)
def test_exported_model_is_described(server, name, attention):
    architecture = ARCHITECTURES[name]
    model = get_model(server, f"{name}-{attention}")
    assert model.state == model_service_pb2.MODEL_STATE_SERVING, model.load_error
    assert (model.num_layers, model.num_heads) == (architectures.LAYERS, architectures.HEADS)
    assert model.vocabulary_size == architectures.VOCABULARY
    assert model.max_sequence_length == architecture.max_length
    assert [site.module_path for site in model.sites] == [
        architecture.path.format(layer) for layer in range(architectures.LAYERS)
    ]
    assert [site.kind for site in model.sites] == [model_service_pb2.SITE_KIND_BLOCKED] * architectures.LAYERS
    operator = "aten::scaled_dot_product_attention" if attention == "sdpa" else "aten::softmax"
    assert {site.operator_name for site in model.sites} == {operator}
    assert {site.tap_reason for site in model.sites} == {""}
    assert [site.executions for site in model.sites] == [1] * architectures.LAYERS
    assert not model.skipped


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if not ARCHITECTURES[name].with_head])
def test_without_a_manifest_the_graph_tells(server, name):
    architecture = ARCHITECTURES[name]
    model = get_model(server, f"{name}-bare")
    assert model.state == model_service_pb2.MODEL_STATE_SERVING, model.load_error
    assert (model.num_layers, model.num_heads) == (architectures.LAYERS, architectures.HEADS)
    assert model.vocabulary_size == architectures.VOCABULARY
    assert model.max_sequence_length == architecture.max_length_of_graph


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if not ARCHITECTURES[name].max_length_of_graph])
def test_longer_than_a_block_of_rows(server, repository, name):
    """Where positions are computed; a bare model has no limit, the configuration's 64 tokens are none."""
    assert_equals_oracle(server, repository, name, "bare", [ids(150, 7), ids(9, 8)])


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "sdpa" not in ARCHITECTURES[name].attentions])
def test_exporter_refuses_fused_attention_where_it_would_be_wrong(repository, tmp_path, name):
    with pytest.raises(ExportError, match=r"eager|other --attention"):
        export_model(architectures.folder(repository, name), tmp_path / name, "sdpa", with_tokenizer=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attention_of_the_fixtures_is_far_from_uniform(repository, name):
    """Else wrong attention could pass for right."""
    [sequence] = oracles(repository, name, RAGGED[:1])
    for layer in sequence.layers:
        peaks = layer.max(axis=-1)[:, -10:]
        assert peaks.mean() > 3 / len(sequence.mask)
