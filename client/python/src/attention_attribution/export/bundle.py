"""Writes a bundle: all of it or nothing."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ExportError

Progress = Callable[[str], None]


def export_model(
    folder: Path,
    output: Path,
    attention: str = "sdpa",
    dtype: str = "float32",
    with_tokenizer: bool = True,
    progress: Progress = lambda line: None,
) -> Path:
    """Exports the Hugging Face model in `folder` as the next version under `output` and returns its directory.

    `output` is `<repository>/<name>`. Raises ExportError if the model cannot be loaded, traced or reproduced; then
    nothing is left behind.
    """
    from . import tokenizer as tokenizer_files

    model = load_model(folder, attention, dtype)
    progress(f"loaded {type(model).__name__} from {folder}")
    tokenizer = tokenizer_files.load(folder) if with_tokenizer else None
    if with_tokenizer and tokenizer is None:
        progress("no tokenizer in the folder: the bundle takes token ids only")
    return write_bundle(model, tokenizer, output, attention, dtype, progress)


def load_model(folder: Path, attention: str, dtype: str) -> Any:
    """Loads the model in eval mode; of an encoder-decoder model the encoder."""
    import torch
    import transformers

    if not (folder / "config.json").is_file():
        raise ExportError(f"Not a Hugging Face model folder: {folder} has no config.json.")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, attn_implementation=attention, dtype=getattr(torch, dtype)
        )
    except Exception as error:
        text = str(error).strip()
        if attention == "sdpa" and "does not support an attention implementation" in text:
            raise ExportError(f"{text.split()[0]} has no fused attention. Pass --attention eager.") from error
        raise ExportError(
            f"The model does not load: {text.splitlines()[0] if text else type(error).__name__}"
        ) from error
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        model = model.get_encoder()
    return model.eval()


def write_bundle(
    model: Any,
    tokenizer: Any | None,
    output: Path,
    attention: str,
    dtype: str,
    progress: Progress = lambda line: None,
) -> Path:
    """Traces, verifies and writes a loaded Hugging Face model as the next version under `output`."""
    import torch
    import yaml

    from . import manifest as manifests
    from . import tokenizer as tokenizer_files
    from . import tracing

    traced = tracing.trace(model)
    nodes = tracing.count_attention_nodes(traced, attention)
    progress(f"traced with {attention} attention: {nodes} attention nodes")
    with _new_version(output) as directory:
        model_file = directory / "model.pt"
        traced.save(str(model_file))
        # The file is verified, not the module in memory: what is served is what was checked.
        worst, bound = tracing.verify(
            torch.jit.load(str(model_file)), model, dtype, manifests.max_sequence_length(model)
        )
        progress(f"verified at other batch sizes and lengths: difference {worst:.1e}, bound {bound:.0e}")
        if tokenizer is not None:
            tokenizer_files.write(tokenizer, directory)
            progress(f"converted the tokenizer: ids agree on {len(tokenizer_files.SAMPLE_TEXTS)} texts")
        manifest = manifests.build(output.name, model, attention, dtype, tokenizer, model_file)
        text = yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, allow_unicode=True)
        (directory / "manifest.yaml").write_text(text, encoding="utf-8")
        return _publish(directory, output)


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
