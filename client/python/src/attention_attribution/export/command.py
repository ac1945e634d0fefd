"""The command attribution-export. Progress goes to standard error, the bundle's path to standard output."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from .bundle import export_model, name_of
from .errors import ExportError

_EXAMPLES = """\
examples:
  attribution-export --model ./all-MiniLM-L6-v2 --output ./model-repository/minilm
  attribution-export --model ./deberta-v3-small --output ./model-repository/deberta --attention eager

exit codes: 0 written, 1 the model cannot be exported, 2 usage
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="attribution-export",
        description="Write a Hugging Face model as the next version of a bundle for attribution-server.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, type=Path, metavar="PATH", help="Hugging Face model folder")
    parser.add_argument(
        "--output", required=True, type=_output, metavar="REPOSITORY/NAME", help="where the bundle goes"
    )
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="form to trace (default: sdpa)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="of the weights (default: float32)",
    )
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="make the weights constants of the graph: smaller, but attention modules lose their paths",
    )
    parser.add_argument("--without-tokenizer", action="store_true", help="write a bundle that takes token ids only")
    options = parser.parse_args(arguments)

    # Turn termination into an exception, so that the half-written directory is removed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        version = export_model(
            options.model,
            options.output,
            attention=options.attention,
            dtype=options.dtype,
            with_tokenizer=not options.without_tokenizer,
            freeze=options.freeze,
            progress=lambda line: print(f"attribution-export: {line}", file=sys.stderr, flush=True),
        )
    except ExportError as error:
        print(f"attribution-export: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"attribution-export: a package is missing: {error}. Run: pip install 'attention-attribution[export]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    print(version)
    return 0


def _output(text: str) -> Path:
    path = Path(text)
    try:
        name_of(path)
    except ExportError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path
