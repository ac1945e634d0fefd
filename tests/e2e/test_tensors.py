"""Attribution of models that take tensors: numbers, lengths, chunks, memory, and every input that is refused."""

from __future__ import annotations

from typing import Any

import calls
import grpc
import numpy as np
import pytest
import rollout_oracle
import tensor_models
from attribution.v1 import attribution_service_pb2, input_pb2, model_service_pb2

DTYPES = {
    "float32": input_pb2.TENSOR_DTYPE_FLOAT32,
    "float16": input_pb2.TENSOR_DTYPE_FLOAT16,
    "int64": input_pb2.TENSOR_DTYPE_INT64,
    "int32": input_pb2.TENSOR_DTYPE_INT32,
    "bool": input_pb2.TENSOR_DTYPE_BOOL,
}
TOLERANCE = {"atol": 1e-5, "rtol": 0}


def named(name: str, array: np.ndarray, **overrides: Any) -> input_pb2.NamedTensor:
    """A tensor of the message; `overrides` replace its fields."""
    array = np.ascontiguousarray(array)
    fields = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data": array.tobytes()}
    return input_pb2.NamedTensor(name=name, **{**fields, **overrides})


def request(model: str, *tensors: input_pb2.NamedTensor, **fields: Any) -> Any:
    return calls.request(model, tensors=input_pb2.TensorBatch(tensors=tensors), **fields)


def pixels(batch: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, 32, 32)).astype(np.float32)


def features(batch: int, length: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, length, tensor_models.FEATURES)).astype(np.float32)


def expected(layers: list[np.ndarray], number: int, mask: Any = None) -> rollout_oracle.SequenceAttention:
    """The oracle's view of one sequence of a batch."""
    valid = np.ones(layers[0].shape[-1]) if mask is None else np.asarray(mask)
    return rollout_oracle.SequenceAttention([layer[number] for layer in layers], valid)


def get_model(server: Any, name: str) -> model_service_pb2.Model:
    return calls.model_stub(server).GetModel(model_service_pb2.GetModelRequest(model=name), timeout=10).model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_vision_model_tells_its_input_and_grid(tensor_server, attention):
    model = get_model(tensor_server, f"vit-{attention}")
    assert model.state == model_service_pb2.MODEL_STATE_SERVING, model.load_error
    assert [(i.name, i.dtype, list(i.shape)) for i in model.inputs] == [
        ("pixel_values", input_pb2.TENSOR_DTYPE_FLOAT32, [-1, 3, 32, 32])
    ]
    grid = model.patch_grid
    assert (grid.rows, grid.columns, grid.first_position) == (4, 4, 1)
    assert (model.num_layers, model.num_heads) == (3, 4)
    assert [site.kind for site in model.sites] == [model_service_pb2.SITE_KIND_BLOCKED] * 3


@pytest.mark.parametrize("preset", calls.PRESETS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_vit_equals_hugging_face(tensor_server, attention, preset):
    images = pixels(3)
    layers = tensor_models.vit_attentions(images)
    assert max(layer.max() for layer in layers) > 0.5, "attention is not sharp"
    reply = calls.attribute(
        tensor_server,
        request(
            f"vit-{attention}",
            named("pixel_values", images),
            options={"preset": calls.PRESETS[preset], "residual_weight": 0.3},
            output={"rollout_matrix": True, "layer_metrics": True, "tokens": True},
        ),
    )
    sequences = [expected(layers, number) for number in range(3)]
    for number, sequence in enumerate(sequences):
        matrix = rollout_oracle.rollout(sequence, preset, 0.3)
        np.testing.assert_allclose(reply.matrix(number), matrix, **TOLERANCE)
        own = rollout_oracle.metrics([sequence], preset, 0.3)
        for name in calls.METRIC_FIELDS:
            assert getattr(reply.result.sequences[number], name) == pytest.approx(own[name], abs=1e-5), name
    whole = rollout_oracle.metrics(sequences, preset, 0.3)
    for name in calls.METRIC_FIELDS:
        assert getattr(reply.result.metrics, name) == pytest.approx(whole[name], abs=1e-5), name
    assert reply.result.metrics.seq_length == tensor_models.VIT_POSITIONS
    assert not reply.admitted.tokens
    calls.assert_within_reservation(reply)


@pytest.mark.parametrize("length", [3, 8, 21, 64])
def test_a_free_dimension_with_a_mask(tensor_server, length):
    values = features(3, length)
    mask = np.ones((3, length), dtype=np.int64)
    mask[1, length // 2 :] = 0
    mask[2, : length // 3] = 0
    reply = calls.attribute(
        tensor_server,
        request(
            "features",
            named("attention_mask", mask),
            named("features", values),
            output={"rollout_matrix": True},
        ),
    )
    layers = tensor_models.attentions("features", values, mask)
    for number in range(3):
        matrix = rollout_oracle.rollout(expected(layers, number, mask[number]))
        np.testing.assert_allclose(reply.matrix(number), matrix, **TOLERANCE)
    calls.assert_within_reservation(reply)


@pytest.mark.parametrize("length", [1, 2, 7, 30, 63])
def test_attention_behind_a_stride(tensor_server, length):
    values = features(2, length)
    reply = calls.attribute(
        tensor_server, request("strided", named("features", values), output={"rollout_matrix": True})
    )
    assert reply.result.metrics.seq_length == (length + 1) // 2
    layers = tensor_models.attentions("strided", values)
    for number in range(2):
        matrix = rollout_oracle.rollout(expected(layers, number))
        np.testing.assert_allclose(reply.matrix(number), matrix, **TOLERANCE)
    calls.assert_within_reservation(reply)


def test_layers_of_two_lengths_are_refused_unless_one_is_chosen(tensor_server):
    values = features(2, 9)
    found = calls.failed_attribute(tensor_server, request("two-lengths", named("features", values)))
    assert (found.code, found.bad_fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ["options.attention_layer_pattern"],
    )
    assert "layer 0 (whole.attention) is [B, 4, 9, 9]" in found.message
    assert "layer 1 (pooled.attention) is [B, 4, 5, 5]" in found.message
    layers = tensor_models.attentions("two-lengths", values)
    for pattern, layer in (("whole", layers[0]), ("pooled", layers[1])):
        reply = calls.attribute(
            tensor_server,
            request(
                "two-lengths",
                named("features", values),
                options={"attention_layer_pattern": pattern},
                output={"rollout_matrix": True},
            ),
        )
        np.testing.assert_allclose(reply.matrix(1), rollout_oracle.rollout(expected([layer], 1)), **TOLERANCE)
        calls.assert_within_reservation(reply)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_change_no_number(tensor_server, chunk):
    def ask(model: str, *tensors: Any, **options: Any) -> Any:
        return calls.attribute(
            tensor_server, request(model, *tensors, options=options, output={"rollout_matrix": True})
        )

    mask = np.ones((5, 12), dtype=np.int64)
    mask[3, 4:] = 0
    for model, tensors in (
        ("vit-sdpa", [named("pixel_values", pixels(5))]),
        ("features", [named("features", features(5, 12)), named("attention_mask", mask)]),
    ):
        whole, cut = ask(model, *tensors), ask(model, *tensors, max_chunk_size=chunk)
        assert cut.admitted.num_chunks == -(-5 // chunk)
        for number in range(5):
            np.testing.assert_allclose(cut.matrix(number), whole.matrix(number), atol=1e-6, rtol=0)
        for name in calls.METRIC_FIELDS:
            got, want = getattr(cut.result.metrics, name), getattr(whole.result.metrics, name)
            assert got == pytest.approx(want, rel=1e-6), name


@pytest.mark.parametrize("batch", [1, 8, 64])
@pytest.mark.parametrize("model", ["vit-sdpa", "vit-eager"])
def test_memory_of_many_images_is_foreseen(tensor_server, model, batch):
    reply = calls.attribute(tensor_server, request(model, named("pixel_values", pixels(batch))))
    calls.assert_within_reservation(reply)
    assert reply.admitted.estimated_peak_bytes < 4 * reply.result.measured_peak_bytes


@pytest.mark.parametrize("batch", [1, 4, 33])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 40, 300])
@pytest.mark.parametrize("model", ["features", "strided"])
def test_memory_of_free_lengths_is_foreseen(tensor_server, model, length, batch):
    tensors = [named("features", features(batch, length))]
    if model == "features":
        tensors.append(named("attention_mask", np.ones((batch, length), dtype=np.int64)))
    reply = calls.attribute(tensor_server, request(model, *tensors))
    calls.assert_within_reservation(reply)


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_tensors_of_tokens_are_tokens(tensor_server, dtype):
    ids = np.array([[2, 5, 17, 42, 3], [2, 9, 3, 0, 0]], dtype=dtype)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=dtype)
    output = {"rollout_matrix": True, "tokens": True}
    tensors = calls.attribute(
        tensor_server,
        request("tiny-bert-sdpa", named("input_ids", ids), named("attention_mask", mask), output=output),
    )
    tokens = calls.attribute(tensor_server, calls.request("tiny-bert-sdpa", ids.tolist(), mask.tolist(), output=output))
    for number in range(2):
        np.testing.assert_array_equal(tensors.matrix(number), tokens.matrix(number))
    assert list(tensors.admitted.tokens[1].input_ids) == [2, 9, 3, 0, 0]


def test_a_row_is_an_index_into_the_attention(tensor_server):
    def ask(row: int) -> Any:
        return request(
            "vit-sdpa",
            named("pixel_values", pixels(1)),
            output={"rollout_matrix": True, "rows": {"kind": "KIND_INDICES", "indices": [row]}},
        )

    last = tensor_models.VIT_POSITIONS - 1
    rows = calls.attribute(tensor_server, ask(last)).rows(0)
    matrix = rollout_oracle.rollout(expected(tensor_models.vit_attentions(pixels(1)), 0))
    np.testing.assert_allclose(rows[last], matrix[last], **TOLERANCE)
    found = calls.failed_attribute(tensor_server, ask(last + 1))
    assert (found.code, found.bad_fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["output.rows.indices[0]"])


FEATURES = named("features", features(2, 6))
MASK = named("attention_mask", np.ones((2, 6), dtype=np.int64))
IDS = named("input_ids", np.full((2, 4), 5, dtype=np.int64))


def with_value(index: int, value: float) -> input_pb2.NamedTensor:
    images = pixels(2)
    images.reshape(-1)[index] = value
    return named("pixel_values", images)


REFUSED = {
    "unknown name": ("vit-sdpa", [named("pixels", pixels(1))], "tensors.tensors[0].name"),
    "no tensor": ("vit-sdpa", [], "tensors.tensors"),
    "given twice": ("vit-sdpa", [named("pixel_values", pixels(1))] * 2, "tensors.tensors[1].name"),
    "one is missing": ("features", [FEATURES], "tensors.tensors"),
    "dtype": ("vit-sdpa", [named("pixel_values", pixels(1).astype(np.float16))], "tensors.tensors[0].dtype"),
    "int32 for int64": (
        "features",
        [FEATURES, named("attention_mask", np.ones((2, 6), dtype=np.int32))],
        "tensors.tensors[1].dtype",
    ),
    "rank": ("vit-sdpa", [named("pixel_values", pixels(1)[0])], "tensors.tensors[0].shape"),
    "fixed size": ("vit-sdpa", [named("pixel_values", pixels(1)[:, :, :16])], "tensors.tensors[0].shape"),
    "empty batch": ("vit-sdpa", [named("pixel_values", pixels(1)[:0])], "tensors.tensors[0].shape"),
    "negative size": (
        "vit-sdpa",
        [named("pixel_values", pixels(1), shape=[-1, 3, 32, 32])],
        "tensors.tensors[0].shape",
    ),
    "too many sequences": ("vit-sdpa", [named("pixel_values", pixels(65))], "tensors.tensors[0].shape"),
    "other batch": (
        "features",
        [FEATURES, named("attention_mask", np.ones((3, 6), np.int64))],
        "tensors.tensors[1].shape",
    ),
    "other length": (
        "features",
        [FEATURES, named("attention_mask", np.ones((2, 5), np.int64))],
        "tensors.tensors[1].shape",
    ),
    "too few bytes": (
        "vit-sdpa",
        [named("pixel_values", pixels(1), data=pixels(1).tobytes()[:-1])],
        "tensors.tensors[0].data",
    ),
    "too many bytes": ("vit-sdpa", [named("pixel_values", pixels(1), data=bytes(12289))], "tensors.tensors[0].data"),
    "more bytes than can be": (
        "strided",
        [named("features", features(1, 1), shape=[2, 1 << 62, 8])],
        "tensors.tensors[0].data",
    ),
    "NaN": ("vit-sdpa", [with_value(4321, np.nan)], "tensors.tensors[0].data"),
    "infinity": ("vit-sdpa", [with_value(0, np.inf)], "tensors.tensors[0].data"),
    "mask of 2": ("features", [FEATURES, named("attention_mask", np.full((2, 6), 2))], "tensors.tensors[1].data"),
    "mask of 0": (
        "features",
        [FEATURES, named("attention_mask", np.eye(2, 6, 7, dtype=np.int64))],
        "tensors.tensors[1].data",
    ),
    "id": ("tiny-bert-sdpa", [named("input_ids", np.full((2, 4), 100))], "tensors.tensors[0].data"),
    "negative id": ("tiny-bert-sdpa", [named("input_ids", np.full((2, 4), -1))], "tensors.tensors[0].data"),
    "token type": ("tiny-bert-sdpa", [IDS, named("token_type_ids", np.full((2, 4), 2))], "tensors.tensors[1].data"),
    "ids that are floats": (
        "tiny-bert-sdpa",
        [named("input_ids", np.ones((2, 4), dtype=np.float32))],
        "tensors.tensors[0].dtype",
    ),
    "longer than the model": ("tiny-bert-sdpa", [named("input_ids", np.full((1, 65), 5))], "tensors.tensors[0].shape"),
    "no dtype": ("vit-sdpa", [named("pixel_values", pixels(1), dtype=0)], "tensors.tensors[0].dtype"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tensor_server, case):
    model, tensors, field = REFUSED[case]
    found = calls.failed_attribute(tensor_server, request(model, *tensors))
    assert (found.code, found.bad_fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field]), found.message


@pytest.mark.parametrize("case", ["NaN", "infinity"])
def test_a_value_that_is_not_finite_is_named(tensor_server, case):
    index = 4321 if case == "NaN" else 0
    model, tensors, _ = REFUSED[case]
    found = calls.failed_attribute(tensor_server, request(model, *tensors))
    assert f'at flat index {index} of "pixel_values"' in found.message


@pytest.mark.parametrize("field", ["tokens", "text"])
def test_other_input_to_a_model_of_tensors(tensor_server, field):
    given = calls.token_batch([[1, 2]]) if field == "tokens" else input_pb2.TextBatch(texts=["a cat"])
    found = calls.failed_attribute(tensor_server, calls.request("vit-sdpa", **{field: given}))
    assert (found.code, found.bad_fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert "pixel_values float32 [-1, 3, 32, 32]" in found.message


def test_metrics_alone(tensor_server):
    message = attribution_service_pb2.ComputeMetricsRequest(
        model="vit-sdpa", tensors=input_pb2.TensorBatch(tensors=[named("pixel_values", pixels(2))])
    )
    reply = calls.attribution_stub(tensor_server).ComputeMetrics(message, timeout=calls.CALL_SECONDS)
    layers = tensor_models.vit_attentions(pixels(2))
    want = rollout_oracle.metrics([expected(layers, 0), expected(layers, 1)])
    for name in calls.METRIC_FIELDS:
        assert getattr(reply.result.metrics, name) == pytest.approx(want[name], abs=1e-5), name


def test_command_line_sends_arrays(binaries, tensor_server, tmp_path):
    image, rollouts = tmp_path / "image.npy", tmp_path / "rollouts.npy"
    np.save(image, pixels(2))
    arguments = ["--server", tensor_server.address, "vit-sdpa", "--tensor", f"pixel_values={image}"]
    done = binaries.run("query", *arguments, "--npy", str(rollouts))
    assert done.returncode == 0, done.stderr
    assert "17 positions" in done.stdout and "#16" in done.stdout
    layers = tensor_models.vit_attentions(pixels(2))
    for number, matrix in enumerate(np.load(rollouts)):
        np.testing.assert_allclose(matrix, rollout_oracle.rollout(expected(layers, number)), **TOLERANCE)
    shown = binaries.run("models", "show", "--server", tensor_server.address, "vit-sdpa")
    assert "pixel_values float32 [-1, 3, 32, 32]" in shown.stdout
    assert "4 x 4 from position 1" in shown.stdout


def test_command_line_refuses_an_array_it_cannot_read(binaries, tensor_server, tmp_path):
    image = tmp_path / "image.npy"
    np.save(image, pixels(1).astype(np.float64))
    done = binaries.run("query", "--server", tensor_server.address, "vit-sdpa", "--tensor", f"pixel_values={image}")
    assert done.returncode == 2
    assert "Its dtype is <f8" in done.stderr
