"""The command line client: output, JSON, exit codes."""

import json

import calls
import hugging_face
import minilm
import numpy as np
import pytest
import rollout_oracle

TEXT = "Attention flows from token to token."


def test_query_prints_a_table(binaries, server):
    run = binaries.run("query", "minilm-sdpa", "--text", TEXT, "--server", server.address)
    assert run.returncode == 0, run.stderr
    assert "rollout_entropy" in run.stdout
    assert "attention" in run.stdout
    assert "\r" not in run.stdout + run.stderr


def test_query_as_json(binaries, server):
    run = binaries.run("query", "minilm-sdpa", "--text", TEXT, "--server", server.address, "--format", "json")
    assert run.returncode == 0, run.stderr
    reply = json.loads(run.stdout)
    ids = hugging_face.tokenizer(minilm.model_folder())(TEXT)["input_ids"]
    expected = rollout_oracle.metrics([hugging_face.attention(minilm.model_folder(), ids)])
    for name in calls.METRIC_FIELDS:
        assert reply["metrics"][name] == pytest.approx(expected[name], abs=1e-5), name


def test_query_takes_ids_and_options(binaries, server):
    arguments = ("--ids", "101,7592,102", "--preset", "ICLR_METRICS", "--residual-weight", "0.2")
    run = binaries.run("query", "minilm-sdpa", *arguments, "--server", server.address, "--format", "json")
    assert run.returncode == 0, run.stderr
    sequence = hugging_face.attention(minilm.model_folder(), [101, 7592, 102])
    expected = rollout_oracle.metrics([sequence], rollout_oracle.ICLR_METRICS, 0.2)
    assert json.loads(run.stdout)["metrics"]["rollout_entropy"] == pytest.approx(expected["rollout_entropy"], abs=1e-5)


def test_query_shows_chosen_rows_and_the_largest_cells(binaries, server):
    arguments = ("query", "minilm-sdpa", "--ids", "101,7592,102", "--server", server.address)
    matrix = rollout_oracle.rollout(hugging_face.attention(minilm.model_folder(), [101, 7592, 102]))
    run = binaries.run(*arguments, "--rows", "2,0", "--top-k", "4", "--format", "json")
    assert run.returncode == 0, run.stderr
    sequence = json.loads(run.stdout)["sequences"][0]
    assert sequence["rollout_rows"] == [0, 2]
    assert np.allclose(sequence["rollout"], matrix[[0, 2]], atol=1e-5)
    values = [cell["value"] for cell in sequence["top_cells"]]
    assert np.allclose(values, np.sort(matrix.flatten())[::-1][:4], atol=1e-5)
    assert all(abs(matrix[cell["row"], cell["column"]] - cell["value"]) < 1e-5 for cell in sequence["top_cells"])

    run = binaries.run(*arguments, "--rows", "last", "--top-k", "4")
    assert run.returncode == 0, run.stderr
    assert "Largest cells of sequence 0" in run.stdout
    assert f"{values[0]:.4f}" in run.stdout
    refused = binaries.run(*arguments, "--rows", "7")
    assert refused.returncode == 3
    assert "output.rows.indices[0]" in refused.stderr


def test_query_reads_standard_input(binaries, server):
    arguments = ("query", "minilm-sdpa", "--server", server.address, "--format", "json")
    run = binaries.run(*arguments, stdin="One line.\nAnother line.\n")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["metrics"]["batch_size"] == 2


def test_models_list_and_show(binaries, server):
    listed = binaries.run("models", "list", "--server", server.address)
    assert listed.returncode == 0, listed.stderr
    assert "minilm-sdpa" in listed.stdout and "broken" in listed.stdout
    shown = binaries.run("models", "show", "minilm-sdpa", "--server", server.address)
    assert shown.returncode == 0, shown.stderr
    assert "encoder.layer.5.attention.self" in shown.stdout
    as_json = binaries.run("models", "list", "--server", server.address, "--format", "json")
    assert "minilm-sdpa" in [model["name"] for model in json.loads(as_json.stdout)["models"]]


def test_health(binaries, server):
    run = binaries.run("health", "--server", server.address)
    assert run.returncode == 0, run.stderr
    assert "SERVING" in run.stdout


@pytest.mark.parametrize(
    "arguments", (("--no-such-flag",), ("query",), ("no-such-command",), ("health", "--format", "xml"))
)
def test_usage_is_exit_code_2(binaries, arguments):
    run = binaries.run(*arguments)
    assert run.returncode == 2
    assert run.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    (
        (("query", "no-such-model", "--text", "hello"), "no-such-model"),
        (("query", "no-attention", "--ids", "1,2"), "No attention weights captured"),
        (("models", "show", "no-such-model"), "no-such-model"),
    ),
)
def test_refusal_is_exit_code_3_with_sentence_and_code(binaries, server, arguments, sentence):
    run = binaries.run(*arguments, "--server", server.address)
    assert run.returncode == 3, run
    assert sentence in run.stderr
    error, code = run.stderr.strip().splitlines()
    assert error.startswith("error: ")
    assert code.startswith("  code: ")


@pytest.mark.parametrize("arguments", (("health",), ("models", "list"), ("query", "minilm-sdpa", "--text", "hello")))
def test_no_server_is_exit_code_4(binaries, arguments):
    run = binaries.run(*arguments, "--server", "127.0.0.1:1")
    assert run.returncode == 4, run
    assert "127.0.0.1:1" in run.stderr


def test_help_has_examples(binaries):
    for command in ((), ("query",), ("models",), ("health",)):
        run = binaries.run(*command, "--help")
        assert run.returncode == 0
        assert "attribution " in run.stdout
