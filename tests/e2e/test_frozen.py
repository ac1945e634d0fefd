"""Frozen models: the weights are constants of the graph, and modules have no names any more."""

from __future__ import annotations

import zipfile

import architectures
import pytest
from architecture_oracle import MASKED, MASKS, RAGGED, assert_equals_oracle, get_model, ids
from architectures import ARCHITECTURES
from attribution.v1 import model_service_pb2

pytestmark = pytest.mark.usefixtures("one_thread")
EXPORTED = [name for name in ARCHITECTURES if not ARCHITECTURES[name].with_head]
NUMBERED = [f"site.{layer}" for layer in range(architectures.LAYERS)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ragged_batch(architecture_server, architecture_repository, name):
    assert_equals_oracle(architecture_server, architecture_repository, name, "frozen-bare", RAGGED)


@pytest.mark.parametrize("name", EXPORTED)
def test_masks(architecture_server, architecture_repository, name):
    assert_equals_oracle(
        architecture_server, architecture_repository, name, "frozen", MASKED, list(MASKS.values()), "ICLR_METRICS"
    )


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if not ARCHITECTURES[name].max_length_of_graph])
def test_longer_than_a_block_of_rows(architecture_server, architecture_repository, name):
    sequences = [ids(150, 7), ids(9, 8)]
    assert_equals_oracle(architecture_server, architecture_repository, name, "frozen-bare", sequences)


@pytest.mark.parametrize("name", EXPORTED)
def test_sites_are_numbered(architecture_server, name):
    model = get_model(architecture_server, f"{name}-frozen")
    assert model.state == model_service_pb2.MODEL_STATE_SERVING, model.load_error
    assert [site.module_path for site in model.sites] == NUMBERED
    assert [site.executions for site in model.sites] == [1] * architectures.LAYERS
    assert (model.num_layers, model.num_heads) == (architectures.LAYERS, architectures.HEADS)
    assert model.max_sequence_length == ARCHITECTURES[name].max_length
    assert not model.skipped


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_a_manifest_the_graph_tells(architecture_server, name):
    model = get_model(architecture_server, f"{name}-frozen-bare")
    assert model.state == model_service_pb2.MODEL_STATE_SERVING, model.load_error
    assert [site.module_path for site in model.sites] == NUMBERED
    assert model.vocabulary_size == architectures.VOCABULARY
    assert model.max_sequence_length == ARCHITECTURES[name].max_length_of_graph


def tensor_bytes(bundle) -> int:
    """Bytes of the tensors in a TorchScript archive, which keeps each storage once, in a file with a number."""
    with zipfile.ZipFile(bundle / "1" / "model.pt") as archive:
        return sum(entry.file_size for entry in archive.infolist() if entry.filename.rsplit("/", 1)[1].isdecimal())


@pytest.mark.parametrize("form", ("frozen", "whole"))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_the_file_holds_is_resident(architecture_server, architecture_repository, name, form):
    bundle = f"{name}-{ARCHITECTURES[name].attentions[0] if form == 'whole' else 'frozen-bare'}"
    model = get_model(architecture_server, bundle)
    assert model.resident_bytes == tensor_bytes(architecture_repository / bundle)
