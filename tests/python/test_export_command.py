"""attribution-export as a program: paths, versions, exit codes, nothing half-written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "client" / "python" / "src"


def export(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attention_attribution.export", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        timeout=120,
        check=False,
    )


def test_writes_versions_one_after_the_other(tiny_bert_folder, tmp_path):
    output = tmp_path / "repository" / "tiny"
    (output / "7").mkdir(parents=True)
    run = export("--model", tiny_bert_folder, "--output", output)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{output / '8'}\n"
    assert {path.name for path in output.iterdir()} == {"7", "8"}
    assert {path.name for path in (output / "8").iterdir()} == {
        "model.pt",
        "manifest.yaml",
        "tokenizer.xml",
        "tokenizer.bin",
        "tokenizer.json",
    }
    assert re.search(r"difference \d\.\de-\d+, bound 1e-04", run.stderr)


def start(*arguments, before="") -> subprocess.Popen[str]:
    """Starts the command in a process that first runs the statements `before`."""
    code = f"import sys; {before}; from attention_attribution.export.command import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def test_two_exports_at_once_write_two_versions(tiny_bert_folder, tmp_path):
    """Frozen, so that the flag is seen to arrive."""
    output = tmp_path / "repository" / "tiny"
    arguments = ("--model", tiny_bert_folder, "--output", output, "--without-tokenizer", "--freeze")
    runs = [start(*arguments, before="pass") for _ in range(2)]
    written = sorted(run.communicate(timeout=120)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert written == [f"{output / '1'}\n", f"{output / '2'}\n"]
    assert sorted(path.name for path in output.iterdir()) == ["1", "2"]
    for version in output.iterdir():
        assert "frozen: true" in (version / "manifest.yaml").read_text()
        assert {path.name for path in version.iterdir()} == {"model.pt", "manifest.yaml"}


def test_interrupted_export_leaves_nothing(tiny_bert_folder, tmp_path):
    """The signal comes when model.pt is written and is to be verified."""
    runs = {}
    for name, code in (("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)):
        before = (
            "import os, signal; from attention_attribution.export import verification; "
            f"verification.verify = lambda *model: os.kill(os.getpid(), signal.{name})"
        )
        output = tmp_path / name / "tiny"
        runs[code] = start("--model", tiny_bert_folder, "--output", output, "--without-tokenizer", before=before)
    for code, run in runs.items():
        out, error = run.communicate(timeout=120)
        assert (run.returncode, out) == (code, ""), error
        assert "attention nodes" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    (
        (),
        ("--model", "."),
        ("--model", ".", "--output", "repository/.hidden"),
        ("--model", ".", "--output", "repository/name", "--attention", "flash"),
    ),
)
def test_usage_is_exit_code_2(arguments):
    assert export(*arguments).returncode == 2


def test_folder_without_a_model_fails_on_one_line_and_leaves_nothing(tmp_path):
    run = export("--model", tmp_path, "--output", tmp_path / "repository" / "name")
    assert run.returncode == 1
    assert run.stderr == f"attribution-export: Not a Hugging Face model folder: {tmp_path} has no config.json.\n"
    assert run.stdout == ""
    assert not (tmp_path / "repository").exists()


def test_importing_the_package_needs_no_torch():
    code = "import attention_attribution.export.command, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True)
