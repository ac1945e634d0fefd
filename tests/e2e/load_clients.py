"""Clients that press a server hard. Their functions run in processes of their own: see run_apart().

A reply is right when its numbers are those of the same request on an idle server; a refusal is right when its code is
documented and it says when to come again.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import calls
import grpc
import numpy as np

TOLERANCE = 1e-5
LONGEST_PAUSE_SECONDS = 0.1  # shorter than servers ask for: they are to be pressed
METRICS = [name for name in calls.METRIC_FIELDS if name not in ("batch_size", "seq_length")]


@dataclass
class Tally:
    """What clients have seen."""

    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by code and reason
    faults: list[str] = field(default_factory=list)  # wrong replies and undocumented refusals
    seconds: list[float] = field(default_factory=list)  # of right replies
    ratios: list[float] = field(default_factory=list)  # measured / estimated bytes

    def add(self, other: Tally) -> None:
        self.right += other.right
        self.refused += other.refused
        self.faults += other.faults
        self.seconds += other.seconds
        self.ratios += other.ratios


@dataclass(frozen=True)
class Case:
    """A request, and the numbers of its right reply."""

    message: bytes
    unary: bool
    expected: np.ndarray


def run_apart(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Calls `function` with each of `arguments`, at once, each in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=len(arguments), mp_context=context) as pool:
        return [future.result() for future in [pool.submit(function, *each) for each in arguments]]


def _numbers(attribution: calls.Attribution) -> np.ndarray:
    """Every number of a reply, in one row."""
    result = attribution.result
    cells = [np.frombuffer(part.data, "<f4") for part in attribution.all("matrix")]
    values = [getattr(metrics, name) for metrics in [result.metrics, *result.sequences] for name in METRICS]
    return np.concatenate([np.asarray(values, dtype=np.float64), *cells])


def ask(stub: Any, message: bytes, unary: bool, timeout: float) -> calls.Attribution:
    """Sends one request, by ComputeMetrics or Attribute."""
    pb2 = calls.attribution_service_pb2
    if not unary:
        return calls.Attribution(list(stub.Attribute(pb2.AttributeRequest.FromString(message), timeout=timeout)))
    reply = stub.ComputeMetrics(pb2.ComputeMetricsRequest.FromString(message), timeout=timeout)
    events = [pb2.AttributeResponse(admitted=reply.admitted), pb2.AttributeResponse(result=reply.result)]
    return calls.Attribution(events)


def make_cases(server: Any, model: str, shapes: Sequence[tuple[int, int]], matrices: bool, seed: int) -> list[Case]:
    """Requests of the shapes (batch, length), with ragged lengths, and their replies by this server, which is idle."""
    draw = random.Random(seed)
    stub = calls.attribution_stub(server)
    cases = []
    for number, (batch, length) in enumerate(shapes):
        lengths = [length, *(draw.randint(max(2, length // 2), length) for _ in range(batch - 1))]
        sequences = [[2, *(draw.randint(5, 99) for _ in range(n - 2)), 3] for n in lengths]
        unary = number % 2 == 0
        if unary:
            message = calls.attribution_service_pb2.ComputeMetricsRequest(
                model=model, tokens=calls.token_batch(sequences)
            )
        else:
            message = calls.request(model, sequences, output={"rollout_matrix": matrices, "layer_metrics": True})
        text = message.SerializeToString()
        cases.append(Case(text, unary, _numbers(ask(stub, text, unary, calls.CALL_SECONDS))))
    return cases


def refusal(error: grpc.RpcError) -> tuple[str, float | None]:
    """Code and reason of a failed call, and when to come again if it is a documented refusal that says so."""
    found = calls.read_failure(error)
    reason = found.error_info.reason if found.error_info else ""
    documented = found.code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
    return f"{found.code.name} {reason}".strip(), found.retry_seconds if documented else None


def _one_client(stub: Any, cases: Sequence[Case], end: float, seed: int) -> Tally:
    tally = Tally()
    draw = random.Random(seed)
    pause = threading.Event()
    while time.monotonic() < end:
        case = draw.choice(cases)
        start = time.monotonic()
        try:
            reply = ask(stub, case.message, case.unary, 4 * calls.CALL_SECONDS)
        except grpc.RpcError as error:
            name, retry_seconds = refusal(error)
            tally.refused[name] += 1
            if retry_seconds is None:
                tally.faults.append(f"{name}: {error.details()}")
            else:
                pause.wait(min(retry_seconds, LONGEST_PAUSE_SECONDS))
            continue
        numbers = _numbers(reply)
        if numbers.shape == case.expected.shape and np.allclose(numbers, case.expected, rtol=TOLERANCE, atol=TOLERANCE):
            tally.right += 1
        else:
            tally.faults.append(f"a wrong reply to a request of {len(case.message)} bytes")
        tally.seconds.append(time.monotonic() - start)
        tally.ratios.append(reply.result.measured_peak_bytes / reply.admitted.estimated_peak_bytes)
    return tally


def closed_loop(address: str, cases: Sequence[Case], clients: int, seconds: float, seed: int) -> Tally:
    """`clients` clients on one connection, each with one request at a time, for `seconds`."""
    total = Tally()
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(max_workers=clients) as pool:
        stub = calls.attribution_service_pb2_grpc.AttributionServiceStub(channel)
        grpc.channel_ready_future(channel).result(timeout=calls.CALL_SECONDS)
        end = time.monotonic() + seconds
        for tally in pool.map(lambda client: _one_client(stub, cases, end, 1000 * seed + client), range(clients)):
            total.add(tally)
    return total


def storm(address: str, cases: Sequence[Case], processes: int, clients: int, seconds: float) -> Tally:
    """`processes` times `clients` clients for `seconds`."""
    total = Tally()
    for tally in run_apart(closed_loop, [(address, cases, clients, seconds, seed) for seed in range(processes)]):
        total.add(tally)
    return total
