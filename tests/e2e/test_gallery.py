"""Every model of the gallery against its eager oracle, and docs/models.md against what the server says of them.

`WRITE_MODELS_PAGE=1 pytest tests/e2e/test_gallery.py` writes the page anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import architecture_oracle
import architectures
import calls
import conftest
import gallery
import models_page
import numpy as np
import programs
import pytest
import rollout_oracle

pytestmark = pytest.mark.usefixtures("one_thread")

ENTRIES = gallery.entries()
CASES = [(name, pattern) for name, entry in ENTRIES.items() for pattern in entry.layers]
IDS = [[5, 17, 42, 8, 99, 23, 6, 71, 12, 33, 2, 64, 7], [41, 9, 300, 77, 15, 8], [6, 7, 450, 21, 90, 4, 3, 11, 12]]
MASKS = [[1] * 13, [1] * 6, [1] * 6 + [0] * 3]


@pytest.fixture(scope="module")
def gallery_server(
    binaries: programs.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[programs.ServerProcess]:
    repository = conftest.BUILD / "fixtures-gallery"
    gallery.ensure(repository)
    with programs.ServerProcess(binaries.server, repository, tmp_path_factory.mktemp("gallery")) as process:
        process.wait_until_serving()
        yield process
        assert process.terminate() == 0, process.log()


def oracles(name: str, pattern: str, masks: list[list[int]]) -> list[rollout_oracle.SequenceAttention]:
    entry = ENTRIES[name]
    return [
        rollout_oracle.SequenceAttention(gallery.attentions(entry, pattern, ids, mask), np.array(mask))
        for ids, mask in zip(IDS, masks, strict=True)
    ]


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_equals_the_eager_model(gallery_server, name, pattern):
    with_mask = gallery.takes_mask(ENTRIES[name])
    masks = MASKS if with_mask else [[1] * len(ids) for ids in IDS]
    message = calls.request(
        name,
        IDS,
        masks if with_mask else None,
        options={"residual_weight": 0.3, "attention_layer_pattern": pattern},
        output={"rollout_matrix": True, "layer_metrics": True},
    )
    reply = calls.attribute(gallery_server, message)
    expected = oracles(name, pattern, masks)
    whole = rollout_oracle.metrics(expected, "ABNAR_2020", 0.3)
    architecture_oracle.assert_fields(reply.result.metrics, whole, calls.METRIC_FIELDS)
    for number, sequence in enumerate(expected):
        matrix = rollout_oracle.rollout(sequence, "ABNAR_2020", 0.3)
        np.testing.assert_allclose(reply.matrix(number), matrix, atol=1e-5, rtol=0)
    assert len(reply.result.layers) == max(len(sequence.layers) for sequence in expected)


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if len(entry.layers) > 1])
def test_two_groups_have_no_rollout_together(gallery_server, name):
    message = calls.request(name, IDS[:1])
    stub = calls.attribution_stub(gallery_server)
    found = calls.failure(lambda: stub.Attribute(message, timeout=calls.CALL_SECONDS))
    assert found.code.name == "INVALID_ARGUMENT"
    assert "two groups" in found.message
    model = architecture_oracle.get_model(gallery_server, name)
    assert {site.group for site in model.sites} == {"encoder", "decoder"}


def test_what_is_no_self_attention_is_listed_with_its_reason(gallery_server):
    model = architecture_oracle.get_model(gallery_server, "many-kinds")
    reasons = "\n".join(skipped.reason for skipped in model.skipped)
    assert "key-value prefix" in reasons
    assert "[1, 4, 8, 2]" in reasons
    assert "a softmax over 5 values" in reasons
    assert "a softmax over 7 values" in reasons
    assert {site.source.split(":")[0] for site in model.sites} <= {"scripted_modules.py", "functional.py"}


def test_the_page_of_models_is_what_the_server_says(gallery_server, architecture_server):
    rows = [
        models_page.gallery_row(ENTRIES[name], architecture_oracle.get_model(gallery_server, name)) for name in ENTRIES
    ]
    rows += [
        models_page.architecture_row(name, form, architecture_oracle.get_model(architecture_server, f"{name}-{form}"))
        for name, architecture in architectures.ARCHITECTURES.items()
        for form in architecture.attentions
    ]
    page = Path(conftest.ROOT) / "docs" / "models.md"
    text = models_page.with_table(page.read_text(encoding="utf-8"), rows)
    if os.environ.get("WRITE_MODELS_PAGE"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text, "docs/models.md is stale; see this module's docstring"
