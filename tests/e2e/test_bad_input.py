"""Every input outside the documented ranges gets INVALID_ARGUMENT with its field, and hurts nothing."""

import calls
import grpc
import pytest

GOOD = [101, 7592, 102]
NAN = float("nan")


def tokens(**fields):
    sequence = {"input_ids": GOOD, **fields}
    return {"tokens": {"sequences": [{"input_ids": GOOD}, sequence]}}


def options(**fields):
    return {"tokens": {"sequences": [{"input_ids": GOOD}]}, "options": fields}


# name: (fields of the request, field path in BadRequest, part of the message)
CASES = {
    "no input": ({}, "input", "input"),
    "empty batch": ({"tokens": {}}, "tokens.sequences", "sequence"),
    "no texts": ({"text": {}}, "text.texts", "text"),
    "empty sequence": (tokens(input_ids=[]), "tokens.sequences[1].input_ids", "input_ids"),
    "negative id": (tokens(input_ids=[101, -1, 102]), "tokens.sequences[1].input_ids", "-1"),
    "id behind the vocabulary": (tokens(input_ids=[101, 30522]), "tokens.sequences[1].input_ids", "30522"),
    "masked id behind the vocabulary": (
        tokens(input_ids=[101, 30522], attention_mask=[1, 0]),
        "tokens.sequences[1].input_ids",
        "30522",
    ),
    "too long": (tokens(input_ids=[101] * 513), "tokens.sequences[1].input_ids", "512"),
    "mask of another length": (tokens(attention_mask=[1, 1]), "tokens.sequences[1].attention_mask", "attention_mask"),
    "mask value 2": (tokens(attention_mask=[1, 2, 1]), "tokens.sequences[1].attention_mask", "2"),
    "negative mask value": (tokens(attention_mask=[1, -1, 1]), "tokens.sequences[1].attention_mask", "-1"),
    "nothing valid": (tokens(attention_mask=[0, 0, 0]), "tokens.sequences[1].attention_mask", "valid"),
    "types of another length": (tokens(token_type_ids=[0]), "tokens.sequences[1].token_type_ids", "token_type_ids"),
    "negative residual weight": (options(residual_weight=-0.1), "options.residual_weight", "residual_weight"),
    "residual weight above 1": (options(residual_weight=1.1), "options.residual_weight", "residual_weight"),
    "residual weight NaN": (options(residual_weight=NAN), "options.residual_weight", "residual_weight"),
    "layer behind the last": (options(layer_idx=6), "options.layer_idx", "layer_idx"),
    "layer before the first": (options(layer_idx=-7), "options.layer_idx", "layer_idx"),
    "negative chunk size": (options(max_chunk_size=-1), "options.max_chunk_size", "max_chunk_size"),
    "bad pattern": (options(attention_layer_pattern="("), "options.attention_layer_pattern", "attention_layer_pattern"),
    "long pattern": (
        options(attention_layer_pattern="a" * 1025),
        "options.attention_layer_pattern",
        "attention_layer_pattern",
    ),
    "head that no layer has": (options(head=12), "options.head", "head"),
    "start behind end": (options(start_layer=3, end_layer=2), "options.start_layer", "start_layer"),
    "unknown preset": (options(preset=77), "options.preset", "preset"),
}


@pytest.mark.parametrize("name", CASES)
def test_invalid_argument(server, name):
    fields, field_path, sentence = CASES[name]
    found = calls.failed_attribute(server, calls.request("minilm-sdpa", **fields))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found
    assert sentence in found.message
    assert any(path.startswith(field_path) for path in found.bad_fields), found.bad_fields


def test_type_outside_its_embedding_is_not_an_internal_error(server):
    message = calls.request("minilm-sdpa", **tokens(token_type_ids=[0, 2, 0]))
    found = calls.failed_attribute(server, message)
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found


def test_compute_metrics_refuses_in_the_same_words(server):
    message = calls.attribution_service_pb2.ComputeMetricsRequest(
        model="minilm-sdpa", tokens=calls.token_batch([[101, 30522]])
    )
    one = calls.failure(lambda: calls.attribution_stub(server).ComputeMetrics(message, timeout=calls.CALL_SECONDS))
    other = calls.failed_attribute(server, calls.request("minilm-sdpa", [[101, 30522]]))
    assert (one.code, one.message, one.bad_fields) == (other.code, other.message, other.bad_fields)
    calls.assert_well(server)


@pytest.mark.parametrize("ids", ([5, 1000], [5, -3], [5] * 65), ids=("vocabulary", "negative", "length"))
def test_ranges_of_a_bare_model_come_from_its_tables(server, ids):
    found = calls.failed_attribute(server, calls.request("bare-two-inputs", [ids]))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found


def test_model_without_a_mask_refuses_masked_positions(server):
    found = calls.failed_attribute(server, calls.request("ids-only", [[5, 6, 7]], [[1, 1, 0]]))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert any("attention_mask" in path for path in found.bad_fields)


def test_page_size_may_not_be_negative(server):
    from attribution.v1 import model_service_pb2

    message = model_service_pb2.ListModelsRequest(page_size=-1)
    found = calls.failure(lambda: calls.model_stub(server).ListModels(message, timeout=calls.CALL_SECONDS))
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "page_size" in found.message
