"""Builds requests and collects replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from attribution.v1 import (
    attribution_service_pb2,
    attribution_service_pb2_grpc,
    events_pb2,
    input_pb2,
    model_service_pb2_grpc,
    options_pb2,
)
from google.rpc import error_details_pb2, status_pb2

CELL_TYPES = {options_pb2.MATRIX_ENCODING_FP32: "<f4", options_pb2.MATRIX_ENCODING_FP16: "<f2"}
CALL_SECONDS = 60.0
METRIC_FIELDS = (
    "mean_attention",
    "max_attention",
    "attention_entropy",
    "attention_concentration",
    "rollout_max",
    "rollout_entropy",
    "batch_size",
    "seq_length",
)
PRESETS = {
    "ABNAR_2020": options_pb2.PRESET_ABNAR_2020,
    "ICLR_METRICS": options_pb2.PRESET_ICLR_METRICS,
}


@dataclass
class Attribution:
    """The events of one Attribute call, in order, and what they add up to."""

    events: list[attribution_service_pb2.AttributeResponse] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return [event.WhichOneof("event") for event in self.events]

    def all(self, kind: str) -> list[Any]:
        return [getattr(event, kind) for event in self.events if event.WhichOneof("event") == kind]

    @property
    def admitted(self) -> events_pb2.Admitted:
        return self.all("admitted")[0]

    @property
    def result(self) -> events_pb2.AttributionResult:
        return self.all("result")[0]

    def slices(
        self, sequence: int, kind: int = events_pb2.MATRIX_KIND_ROLLOUT, layer_idx: int = -1
    ) -> list[events_pb2.MatrixSlice]:
        """The slices of one matrix, as they came."""
        key = (sequence, kind, layer_idx)
        return [part for part in self.all("matrix") if (part.sequence_index, part.kind, part.layer_idx) == key]

    def rows(self, *matrix: int) -> dict[int, np.ndarray]:
        """Rows by number, of the matrix that slices() takes; they must be whole and come in order, each once."""
        rows: dict[int, np.ndarray] = {}
        for part in self.slices(*matrix):
            assert part.rows > 0 and len(part.data) <= 1 << 20
            assert not rows or part.first_row > max(rows)
            cells = np.frombuffer(part.data, dtype=CELL_TYPES[part.encoding]).reshape(part.rows, part.columns)
            rows |= {part.first_row + number: row for number, row in enumerate(cells)}
        return rows

    def matrix(self, *matrix: int) -> np.ndarray:
        """A whole matrix, named as slices() names it."""
        rows = self.rows(*matrix)
        assert list(rows) == list(range(len(rows))), f"rows are missing from {matrix}: {list(rows)}"
        whole = np.stack(list(rows.values()))
        assert whole.shape[0] == whole.shape[1]
        return whole

    def top_cells(self, sequence: int) -> list[tuple[int, int, float]]:
        """Row, column and value of the largest cells of one rollout."""
        tops = [top for top in self.all("top") if top.sequence_index == sequence]
        assert all(top.kind == events_pb2.MATRIX_KIND_ROLLOUT for top in tops)
        return [(cell.row, cell.column, cell.value) for top in tops for cell in top.cells]


def token_batch(
    sequences: Sequence[Sequence[int]], masks: Sequence[Sequence[int] | None] | None = None
) -> input_pb2.TokenBatch:
    """Token ids with masks; a mask of None is left empty, which means all valid."""
    masks = masks or [None] * len(sequences)
    return input_pb2.TokenBatch(
        sequences=[
            input_pb2.TokenSequence(input_ids=ids, attention_mask=mask or [])
            for ids, mask in zip(sequences, masks, strict=True)
        ]
    )


def assert_within_reservation(reply: Attribution) -> None:
    """What was measured is within what is reserved for the estimate; a new shape may be a little above the latter."""
    estimated = reply.admitted.estimated_peak_bytes
    assert 0 < reply.result.measured_peak_bytes <= estimated + estimated // 16 + (256 << 10)


def request(model: str, sequences: Any = None, masks: Any = None, **fields: Any) -> Any:
    """An AttributeRequest over token ids; `fields` are further fields of the message."""
    if sequences is not None:
        fields["tokens"] = token_batch(sequences, masks)
    return attribution_service_pb2.AttributeRequest(model=model, **fields)


def attribution_stub(server: Any) -> attribution_service_pb2_grpc.AttributionServiceStub:
    return attribution_service_pb2_grpc.AttributionServiceStub(server.channel)


def model_stub(server: Any) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(server.channel)


def attribute(server: Any, message: Any) -> Attribution:
    """Calls Attribute and collects its events."""
    return Attribution(list(attribution_stub(server).Attribute(message, timeout=CALL_SECONDS)))


@dataclass
class Failure:
    """How a call failed: code, message, details."""

    code: grpc.StatusCode
    message: str
    bad_fields: list[str]
    error_info: error_details_pb2.ErrorInfo | None
    retry_seconds: float | None = None


def read_failure(error: grpc.RpcError) -> Failure:
    """Reads the status of a call that failed."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    found = Failure(error.code(), error.details() or "", [], None)
    for detail in status.details:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            found.bad_fields += [violation.field for violation in bad.field_violations]
        elif detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            found.error_info = error_details_pb2.ErrorInfo()
            detail.Unpack(found.error_info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            found.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return found


def failure(call: Any) -> Failure:
    """Runs `call`, which must fail, and reads its status."""
    try:
        reply = call()
        if hasattr(reply, "__next__"):
            list(reply)
    except grpc.RpcError as error:
        return read_failure(error)
    raise AssertionError("the call succeeded")


def failed_attribute(server: Any, message: Any) -> Failure:
    """Calls Attribute, which must fail, and then checks that the server has come through it."""
    found = failure(lambda: attribution_stub(server).Attribute(message, timeout=CALL_SECONDS))
    assert_well(server)
    return found


def assert_well(server: Any) -> None:
    """The server answers and holds no memory for requests."""
    assert_well_with(server, "tiny-bert-sdpa")


def assert_well_with(server: Any, model: str) -> None:
    """The same, of a server that has this model."""
    reply = attribute(server, request(model, [[2, 5, 6, 3]]))
    assert reply.kinds()[-1] == "result"
    assert server.total("attribution_memory_reserved_bytes") == 0
