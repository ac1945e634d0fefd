"""Clients that leave at any moment: the reservation goes back within two layers, and nothing stays behind."""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
import time

import calls
import grpc
import measure
import programs
import pytest

COUNT = int(os.environ.get("ATTRIBUTION_CANCEL_COUNT", "500"))
LAYERS = 6
PATIENCE_SECONDS = 60.0


def wait_until_free(server) -> None:
    """Returns when no memory is reserved."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.total("attribution_memory_reserved_bytes") != 0:
        assert time.monotonic() < deadline, server.log()


def test_a_cancelled_request_gives_its_memory_back_whenever_it_is_cancelled(server):
    message = calls.request("minilm-sdpa", [[2, *range(5, 30), 3]] * 8, output={"layer_metrics": True})
    for events in range(8):
        stream = calls.attribution_stub(server).Attribute(message, timeout=calls.CALL_SECONDS)
        for _ in range(events):
            next(stream)
        stream.cancel()
        with pytest.raises(grpc.RpcError):
            list(stream)
        wait_until_free(server)
    calls.assert_well(server)


class LogReader:
    """The lines that a server adds to its log."""

    def __init__(self, server) -> None:
        self._server = server
        self._seen = len(server.log())

    def next_end(self) -> str:
        """Waits for the line of the next request that ends."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while True:
            # The last line may be half written.
            text = self._server.log()[self._seen :]
            for line in text.splitlines(keepends=True):
                if not line.endswith("\n"):
                    break
                self._seen += len(line)
                if "Request ended." in line:
                    return line
            assert time.monotonic() < deadline, text
            pause.wait(0.01)  # asking all the time would take the processor from what is measured


@pytest.mark.soak
def test_cancelling_at_random_moments(binaries, model_repository, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / "minilm-sdpa", repository / "minilm-sdpa")
    with programs.ServerProcess(binaries.server, repository, tmp_path) as server:
        server.wait_until_serving()
        stub = calls.attribution_stub(server)
        message = calls.request("minilm-sdpa", [[2, *range(5, 259), 3]] * 4)
        idle = sorted(calls.attribute(server, message).result.forward_seconds for _ in range(9))
        layer = idle[len(idle) // 2] / LAYERS
        log = LogReader(server)
        draw = random.Random(11)
        pause = threading.Event()
        waits, ended, warm = [], 0, 0
        for number in range(COUNT):
            stream = stub.Attribute(message, timeout=calls.CALL_SECONDS)
            assert next(stream).WhichOneof("event") == "admitted"
            pause.wait(draw.uniform(0, 1.1 * LAYERS * layer))
            stream.cancel()
            try:
                list(stream)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.CANCELLED
            # The line is written when the reservation is back.
            line = log.next_end()
            if "outcome=cancelled" in line:
                waits.append(float(re.search(r"since_cancel_seconds=(\S+)", line)[1]))
            else:
                ended += 1
            if number == COUNT // 5:
                warm = measure.resident_bytes(server.pid)
        growth = measure.resident_bytes(server.pid) / warm - 1
        p99 = measure.quantile(waits, 0.99)
        print(f"\nlayer: {layer:.4f} s\ncancel to free, p50: {measure.quantile(waits, 0.5):.4f} s, p99: {p99:.4f} s")
        print(f"ended before they were cancelled: {ended} of {COUNT}\ngrowth of the resident set: {growth:.2%}")
        wait_until_free(server)
        calls.assert_well_with(server, "minilm-sdpa")
        assert growth <= 0.03
        assert p99 <= 2 * layer
