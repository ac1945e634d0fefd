"""Models that are missing, broken, without attention or failing: one clear code each, and nothing else suffers."""

import calls
import grpc
import pytest
import tiny_modules

IDS = [[5, 6, 7]]
POISONED = [[5, tiny_modules.POISON_ID, 7]]


@pytest.mark.parametrize("name", ("no-such-model", "../minilm-sdpa", "/etc"))
def test_unknown_model(server, name, model_repository):
    found = calls.failed_attribute(server, calls.request(name, IDS))
    assert found.code == grpc.StatusCode.NOT_FOUND
    assert str(model_repository) not in found.message


@pytest.mark.parametrize("version", ("99", "newest"))
def test_unknown_version(server, version):
    found = calls.failed_attribute(server, calls.request("minilm-sdpa", IDS, model_version=version))
    assert found.code == grpc.StatusCode.NOT_FOUND


def test_broken_bundle_answers_with_its_load_error(server, model_repository):
    found = calls.failed_attribute(server, calls.request("broken", IDS))
    assert found.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "broken" in found.message
    assert found.error_info is not None
    assert str(model_repository) not in found.message


def test_model_without_attention(server):
    found = calls.failed_attribute(server, calls.request("no-attention", IDS))
    assert found.code == grpc.StatusCode.FAILED_PRECONDITION
    assert found.message.startswith("No attention weights captured")


def test_pattern_that_matches_nothing(server):
    message = calls.request("minilm-sdpa", IDS, options={"attention_layer_pattern": "decoder.*"})
    found = calls.failed_attribute(server, message)
    assert found.code == grpc.StatusCode.FAILED_PRECONDITION
    assert found.message.startswith("No attention weights captured")
    assert "decoder.*" in found.message


@pytest.mark.parametrize("model", ("tiny-bert-eager", "bare-two-inputs"))
def test_text_to_a_model_without_tokenizer(server, model):
    found = calls.failed_attribute(server, calls.request(model, text={"texts": ["hello"]}))
    assert found.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "tokenizer" in found.message


def test_attention_that_is_not_finite(server):
    found = calls.failed_attribute(server, calls.request("nan-model", POISONED))
    assert found.code == grpc.StatusCode.INTERNAL
    assert found.error_info is not None
    assert found.error_info.reason == "NON_FINITE_ATTENTION"
    assert "Layer 0" in found.message


def test_not_finite_in_one_sequence_leaves_the_model_usable(server):
    calls.failed_attribute(server, calls.request("nan-model", IDS + POISONED))
    assert calls.attribute(server, calls.request("nan-model", IDS)).kinds()[-1] == "result"


@pytest.mark.parametrize(("length", "layers"), ((9, 2), (25, 3), (45, 4), (512, 27)))
def test_layers_that_depend_on_the_input_are_counted(server, length, layers):
    message = calls.request("layers-by-length", [[5] * length, [5] * 9], output={"layer_metrics": True})
    reply = calls.attribute(server, message)
    assert [layer.layer_idx for layer in reply.result.layers] == list(range(layers))
    assert reply.admitted.chunk_size == 1


def test_model_that_throws(server):
    found = calls.failed_attribute(server, calls.request("throws", POISONED))
    assert found.code == grpc.StatusCode.INTERNAL
    assert found.error_info.reason == "MODEL_FAILED"
    assert "the model refuses this token" in found.message
    assert "\n" not in found.message
    assert calls.attribute(server, calls.request("throws", IDS)).kinds()[-1] == "result"
