"""Writes a bundle: all of it or nothing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ExportError, first_line

Progress = Callable[[str], None]


# As the server has it: directories of other names are ignored there.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def name_of(output: Path) -> str:
    """The model's name in `<repository>/<name>`. Raises ExportError if the server would not serve it."""
    if not _NAME.fullmatch(output.name):
        raise ExportError(
            f"Not a model's name: {output.name!r}. Use letters, digits, '.', '_' and '-', a letter or digit first."
        )
    return output.name


def export_model(
    folder: Path,
    output: Path,
    attention: str = "sdpa",
    dtype: str = "float32",
    with_tokenizer: bool = True,
    freeze: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Exports the Hugging Face model in `folder` as the next version under `output` and returns its directory.

    `output` is `<repository>/<name>`. Raises ExportError if the model cannot be loaded, traced or reproduced; then
    nothing is left behind.
    """
    from . import tokenizer as tokenizer_files
    from .loading import load_model
    from .vision import takes_pixels

    name_of(output)
    model = load_model(folder, attention, dtype)
    progress(f"loaded {type(model).__name__} from {folder}")
    with_tokenizer = with_tokenizer and not takes_pixels(model)
    tokenizer = tokenizer_files.load(folder) if with_tokenizer else None
    if with_tokenizer and tokenizer is None:
        progress("no tokenizer in the folder: the bundle takes token ids only")
    return write_bundle(model, tokenizer, output, attention, dtype, freeze, progress)


def write_bundle(
    model: Any,
    tokenizer: Any | None,
    output: Path,
    attention: str,
    dtype: str,
    freeze: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Traces, verifies and writes a loaded Hugging Face model as the next version under `output`."""
    import torch
    import yaml

    from . import manifest as manifests
    from . import tokenizer as tokenizer_files
    from . import tracing, verification

    name = name_of(output)
    longest = manifests.max_sequence_length(model)
    verification.check_weights(model, dtype)
    with _new_version(output) as directory:
        _check_space(model, output)
        traced = tracing.trace(model, longest)
        nodes = tracing.count_attention_nodes(traced, attention)
        if nodes == 0:
            raise ExportError(
                f"The trace holds no {attention} attention: {type(model).__name__}. Try the other --attention; a model "
                f"without either has nothing to show."
            )
        progress(f"traced with {attention} attention: {nodes} attention nodes")
        if freeze:
            traced = tracing.freeze(traced)
            progress("frozen: the weights are constants of the graph, attention modules have no paths")
        model_file = directory / "model.pt"
        try:
            traced.save(str(model_file))
        except RuntimeError as error:
            raise ExportError(f"TorchScript cannot hold the model: {first_line(error)}.") from error
        # The file is verified, not the module in memory: what is served is what was checked.
        difference, bound = verification.verify(torch.jit.load(str(model_file)), model, dtype, longest)
        progress(f"verified at other batch sizes and lengths: difference {difference:.1e}, bound {bound:.0e}")
        if tokenizer is not None:
            tokenizer_files.write(tokenizer, directory)
            progress(f"converted the tokenizer: ids agree on {len(tokenizer_files.SAMPLE_TEXTS)} texts")
        manifest = manifests.build(name, model, attention, dtype, freeze, tokenizer, model_file)
        text = yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, allow_unicode=True)
        (directory / "manifest.yaml").write_text(text, encoding="utf-8")
        return _publish(directory, output)


def _check_space(model: Any, output: Path) -> None:
    """Raises ExportError if the disk cannot hold the weights. Torch's writer ends the process when a disk is full."""
    needed = sum(weights.nbytes for weights in model.parameters())
    free = shutil.disk_usage(output).free
    if free < needed:
        raise ExportError(f"The disk of {output} is too full: {free} bytes are free, the weights need {needed}.")


@contextmanager
def _new_version(output: Path) -> Iterator[Path]:
    """Makes a hidden directory beside the versions and removes it, and parents made for it, unless published."""
    made = [parent for parent in (output, *output.parents) if not parent.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    except OSError as error:
        raise ExportError(f"Cannot write to {output}: {error.strerror}.") from error
    try:
        yield directory
    except OSError as error:
        raise ExportError(f"Cannot write to {output}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        for parent in made:
            try:
                parent.rmdir()
            except OSError:
                break  # Holds the published version, or something that another process put there.


def _publish(directory: Path, output: Path) -> Path:
    """Syncs the directory to disk and renames it to the next free integer version."""
    os.chmod(directory, 0o755)
    for file in directory.iterdir():
        os.chmod(file, 0o644)
        _sync(file)
    _sync(directory)
    version = max((int(entry.name) for entry in output.iterdir() if entry.name.isdecimal()), default=0) + 1
    while True:
        target = output / str(version)
        try:
            # Fails on a directory with files, so that a version another export has just written is never replaced.
            os.rename(directory, target)
        except OSError:
            if not target.exists():
                raise
            version += 1
            continue
        _sync(output)
        return target


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
