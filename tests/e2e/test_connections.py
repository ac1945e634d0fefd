"""Connections that do not behave get the documented answer, and others notice nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time

import calls
import grpc
import hostile_connections
import measure
import programs
import pytest

IDLE = int(os.environ.get("ATTRIBUTION_IDLE_CONNECTIONS", "10000"))
HANDSHAKE_SECONDS = 20.0  # docs/configuration.md, connections
MODEL = "tiny-bert-sdpa"
CLOSED_AT_ONCE = ("text", "garbage", "garbage behind the preface")


@pytest.fixture
def small_server(binaries, model_repository, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / MODEL, repository / MODEL)
    with programs.ServerProcess(binaries.server, repository, tmp_path, "--max-message-bytes", "1MiB") as process:
        process.wait_until_serving()
        yield process


def hold(server, counts):
    """Holds connections in another process while this one asks; returns how many the server closed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hostile_connections.hold, args=(server.address, counts, theirs))
    process.start()
    try:
        assert ours.poll(300), "the connections did not come up"
        assert ours.recv() == "open"
        threads = sum(measure.thread_names(server.pid).values())
        start = time.monotonic()
        for _ in range(10):
            calls.assert_well(server)
        print(f"\n10 requests beside them: {time.monotonic() - start:.3f} s, {threads} threads")
        print(f"resident: {measure.resident_bytes(server.pid) / measure.MIB:.1f} MiB")
        ours.send("close")
        return ours.recv()
    finally:
        process.join(60)
        process.kill()


@pytest.mark.parametrize("kind", CLOSED_AT_ONCE)
def test_what_is_not_http2_is_closed(small_server, kind):
    hostile_connections.wait_until_closed(small_server.address, kind, calls.CALL_SECONDS)
    calls.assert_well(small_server)


def test_connections_of_every_kind_leave_others_alone(small_server):
    calls.assert_well(small_server)
    before = measure.open_files(small_server.pid)
    hold(small_server, dict.fromkeys(hostile_connections.WORDS, 20))
    deadline = time.monotonic() + calls.CALL_SECONDS
    while measure.open_files(small_server.pid) > before:
        assert time.monotonic() < deadline, "connections were left open"
    assert small_server.terminate() == 0, small_server.log()


def test_an_oversized_message_is_resource_exhausted_and_says_nothing_of_retrying(small_server):
    message = calls.request(MODEL, [[5] * (1 << 20)] * 2)
    found = calls.failure(lambda: calls.attribution_stub(small_server).Attribute(message, timeout=calls.CALL_SECONDS))
    assert found.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert found.retry_seconds is None
    calls.assert_well(small_server)


def test_an_open_stream_without_its_request_does_not_hold_up_the_end(small_server):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    counts = {"half-open stream": 3, "idle": 3, "nothing": 3}
    process = context.Process(target=hostile_connections.hold, args=(small_server.address, counts, theirs))
    process.start()
    assert ours.poll(calls.CALL_SECONDS) and ours.recv() == "open"
    start = time.monotonic()
    assert small_server.terminate() == 0, small_server.log()
    print(f"\nended in {time.monotonic() - start:.2f} s")
    ours.send("close")
    assert ours.recv() == counts
    process.join(calls.CALL_SECONDS)


@pytest.mark.soak
def test_ten_thousand_idle_connections(small_server):
    closed = hold(small_server, {"idle": IDLE})
    print(f"closed by the server: {closed}")
    assert closed == {"idle": 0}
    calls.assert_well(small_server)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ("nothing", "preface"))
def test_connections_that_never_speak_are_closed_in_time(small_server, kind):
    start = time.monotonic()
    hostile_connections.wait_until_closed(small_server.address, kind, 3 * HANDSHAKE_SECONDS)
    print(f"\n{kind}: closed after {time.monotonic() - start:.1f} s")
    assert time.monotonic() - start <= 1.5 * HANDSHAKE_SECONDS
