"""Starting and stopping: SIGTERM ends the server with 0, bad flags end it with 2."""

import shutil
import subprocess

import calls
import programs
import pytest


@pytest.fixture
def small_server(binaries, model_repository, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / "tiny-bert-sdpa", repository / "tiny-bert-sdpa")
    with programs.ServerProcess(binaries.server, repository, tmp_path) as process:
        process.wait_until_serving()
        yield process


def test_sigterm_exits_0_when_idle(small_server):
    assert small_server.terminate() == 0, small_server.log()


def test_sigterm_exits_0_after_work_with_an_open_connection(small_server):
    calls.assert_well(small_server)
    assert small_server.terminate() == 0, small_server.log()


def test_sigterm_finishes_what_was_admitted(small_server):
    message = calls.request("tiny-bert-sdpa", [[2, 5, 6, 3]] * 512, options={"max_chunk_size": 1})
    stream = calls.attribution_stub(small_server).Attribute(message, timeout=calls.CALL_SECONDS)
    assert next(stream).WhichOneof("event") == "admitted"
    small_server.signal_termination()
    kinds = [event.WhichOneof("event") for event in stream]
    assert kinds[-1] == "result"
    assert small_server.wait() == 0, small_server.log()


@pytest.mark.parametrize(
    "arguments", ((), ("--no-such-flag",), ("--model-repository", "/no/such/folder", "--listen", "nonsense"))
)
def test_bad_flags_exit_2(binaries, arguments):
    run = subprocess.run([str(binaries.server), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert run.stderr
