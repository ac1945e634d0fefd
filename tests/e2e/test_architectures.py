"""Models of many architectures, as Hugging Face builds them: what the server finds in them and what it computes.

The truth is Hugging Face's own eager attention of one sequence alone, and the naive rollout over it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import architectures
import calls
import hugging_face
import numpy as np
import programs
import pytest
import rollout_oracle
import torch
from architectures import ARCHITECTURES
from attention_attribution.export import ExportError, export_model
from attribution.v1 import model_service_pb2

TOLERANCE = 1e-5
BUNDLES = [
    pytest.param(name, attention, id=f"{name}-{attention}")
    for name, architecture in ARCHITECTURES.items()
    for attention in architecture.attentions
]


def ids(length: int, seed: int) -> list[int]:
    """Token ids that are padding in no model."""
    return np.random.default_rng(seed).integers(10, architectures.VOCABULARY, length).tolist()


# Lengths on both sides of the sliding windows; the server pads them on the right to the longest of a chunk.
RAGGED = [ids(40, 1), ids(13, 2), ids(5, 3), ids(1, 4)]
MASKS = {
    "tail": [1] * 15 + [0] * 8,
    "head": [0] * 8 + [1] * 15,
    "gap": [1] * 6 + [0] * 4 + [1] * 13,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are so small that further threads would only wait for each other, on a busy machine for long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def repository() -> Path:
    """A repository with all architectures."""
    from conftest import BUILD

    path = BUILD / "fixtures-architectures"
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, architectures.__file__, "--output", str(path)], check=True, env=one_thread)
    return path


@pytest.fixture(scope="module")
def server(
    binaries: programs.Binaries, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[programs.ServerProcess]:
    """One server for all architectures."""
    directory = tmp_path_factory.mktemp("architectures")
    with programs.ServerProcess(binaries.server, repository, directory, "--intra-op-threads", "1") as process:
        process.wait_until_serving()
        yield process
        assert process.terminate() == 0, process.log()


def get_model(server, name: str) -> model_service_pb2.Model:
    return calls.model_stub(server).GetModel(model_service_pb2.GetModelRequest(model=name), timeout=10).model


@lru_cache(maxsize=256)
def oracle(repository: Path, name: str, input_ids: tuple, mask: tuple) -> rollout_oracle.SequenceAttention:
    dtype = "float64" if all(mask) else "float32"
    return hugging_face.attention(architectures.folder(repository, name), input_ids, mask, dtype)


def oracles(repository: Path, name: str, sequences, masks=None) -> list[rollout_oracle.SequenceAttention]:
    masks = masks or [[1] * len(sequence) for sequence in sequences]
    return [
        oracle(repository, name, tuple(sequence), tuple(mask)) for sequence, mask in zip(sequences, masks, strict=True)
    ]


def assert_fields(got, expected: dict[str, float], names) -> None:
    for name in names:
        assert getattr(got, name) == pytest.approx(expected[name], abs=TOLERANCE, rel=0), name


def assert_equals_oracle(server, repository, name, attention, sequences, masks=None, preset="ABNAR_2020") -> None:
    """Metrics of the batch and of each sequence, statistics of each layer, and every rollout matrix."""
    message = calls.request(
        f"{name}-{attention}",
        sequences,
        masks,
        options={"preset": calls.PRESETS[preset], "residual_weight": 0.3},
        output={"rollout_matrix": True, "layer_metrics": True},
    )
    reply = calls.attribute(server, message)
    expected = oracles(repository, name, sequences, masks)
    assert_fields(reply.result.metrics, rollout_oracle.metrics(expected, preset, 0.3), calls.METRIC_FIELDS)
    assert [layer.layer_idx for layer in reply.result.layers] == list(range(architectures.LAYERS))
    for layer in reply.result.layers:
        statistics = rollout_oracle.layer_statistics(expected, layer.layer_idx)
        assert_fields(layer, statistics, statistics)
    for number, sequence in enumerate(expected):
        own = rollout_oracle.metrics([sequence], preset, 0.3)
        assert_fields(reply.result.sequences[number], own, calls.METRIC_FIELDS)
        matrix = rollout_oracle.rollout(sequence, preset, 0.3)
        np.testing.assert_allclose(reply.matrix(number), matrix, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("name", "attention"), BUNDLES)
def test_ragged_batch(server, repository, name, attention):
    assert_equals_oracle(server, repository, name, attention, RAGGED)


@pytest.mark.parametrize(("name", "attention"), BUNDLES)
def test_masks(server, repository, name, attention):
    assert_equals_oracle(server, repository, name, attention, [ids(23, 5)] * len(MASKS), list(MASKS.values()))


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


@pytest.mark.parametrize("attention", ("sdpa", "eager"))
def test_opt_counts_its_positions_by_the_mask(server, attention):
    sequence = ids(15, 6)
    message = calls.request(
        f"opt-{attention}",
        [sequence, [1] * 8 + sequence],
        [[1] * 15, [0] * 8 + [1] * 15],
        output={"rollout_matrix": True},
    )
    reply = calls.attribute(server, message)
    np.testing.assert_allclose(reply.matrix(1)[8:, 8:], reply.matrix(0), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attention_of_the_fixtures_is_far_from_uniform(repository, name):
    """Else wrong attention could pass for right."""
    [sequence] = oracles(repository, name, RAGGED[:1])
    for layer in sequence.layers:
        peaks = layer.max(axis=-1)[:, -10:]
        assert peaks.mean() > 3 / len(sequence.mask)
