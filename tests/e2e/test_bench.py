"""The load generator, briefly, against the real server."""

import json

import pytest


def bench(binaries, server, *arguments: str) -> dict:
    run = binaries.run(
        "bench", "minilm-sdpa", *arguments, "--warm-up", "0", "--server", server.address, "--format", "json"
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_closed_loop(binaries, server):
    report = bench(binaries, server, "--shapes", "1x8,2x16", "--clients", "3", "--duration", "500ms", "--no-matrix")
    assert report["succeeded"] == report["requests"] >= 3
    assert report["outcomes"] == {"OK": report["requests"]}
    assert sum(shape["requests"] for shape in report["shapes"].values()) == report["requests"]
    assert report["shapes"]["2x16"]["sequences"] == 2 * report["shapes"]["2x16"]["succeeded"]
    latency = report["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    assert report["first_event_seconds"]["p50"] <= latency["max"]
    assert sum(bucket["count"] for bucket in report["latency_histogram"]) == report["succeeded"]
    assert 0 < report["memory_ratio"]["max"] <= 1.0625
    assert report["received_bytes"] > 0


def test_open_loop_of_texts(binaries, server):
    report = bench(binaries, server, "--text", "Attention flows.", "--rate", "20", "--duration", "500ms")
    assert report["loop"] == "open, 20/s"
    assert report["succeeded"] == report["requests"] > 0


@pytest.mark.parametrize("arguments", (("--shapes", "8"), ("--shapes", "1x100000"), ("--rate", "0")))
def test_usage_is_exit_code_2(binaries, server, arguments):
    run = binaries.run("bench", "minilm-sdpa", *arguments, "--server", server.address)
    assert run.returncode == 2, run.stderr


def test_a_model_that_is_not_there_is_exit_code_3(binaries, server):
    run = binaries.run("bench", "no-such-model", "--server", server.address)
    assert run.returncode == 3
