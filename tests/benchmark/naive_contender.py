"""The naive contender of the benchmark: Hugging Face's eager model with every layer's attention kept, then rollout.

Speaks the protocol of child_protocol.h on standard input and output: prepare, run, result. It computes what the engine
does by default, the preset ABNAR_2020 and the metrics of docs/rollout.md, as one would write it down with torch: all
layers stacked, heads averaged, half of the identity added, rows normalised, multiplied.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

# Beyond what attention takes: activations, the program's own growth, other processes.
_SPARE_BYTES = 1 << 30


def main() -> int:
    """Answers requests until standard input ends."""
    parser = argparse.ArgumentParser(description="Run the naive contender of the benchmark.")
    parser.add_argument("--folder", required=True, type=Path, help="Hugging Face model folder")
    parser.add_argument("--threads", required=True, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    contender = Naive(options.folder, vocabulary=int(sys.stdin.readline().split()[4]))
    for line in sys.stdin:
        request, *numbers = line.split()
        answer = {"prepare": contender.prepare, "run": contender.run, "result": contender.result}[request]
        print(answer(*(int(number) for number in numbers)), flush=True)
    return 0


class Naive:
    """The model and its current input."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.model = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, attn_implementation="eager", dtype=torch.float32
        ).eval()
        self.vocabulary = vocabulary or 1000
        self.inputs: dict[str, Any] = {}
        self.metrics: list[float] = []

    def prepare(self, batch: int, length: int, warm_ups: int) -> str:
        """Makes the input and runs it once: nothing here specialises, so one run warms up."""
        reason = self.too_large(batch, length)
        if reason:
            return f"not-shown {reason}"
        ids = torch.from_numpy(token_ids(batch, length, self.vocabulary))
        self.inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "output_attentions": True}
        if "use_cache" in inspect.signature(self.model.forward).parameters:
            self.inputs["use_cache"] = False
        self.run(1)
        return "0 0 1"

    def too_large(self, batch: int, length: int) -> str:
        """Says why a shape does not fit: every layer twice, as the model gave it and stacked, and one in work."""
        config = self.model.config
        layer = 4 * config.num_attention_heads * batch * length**2
        needed = (2 * config.num_hidden_layers + 4) * layer + _SPARE_BYTES
        available = available_bytes()
        if needed <= available:
            return ""
        return f"the naive program needs {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free"

    def run(self, repetitions: int) -> str:
        """Runs the input and returns the seconds per run."""
        begin = time.perf_counter()
        for _ in range(repetitions):
            self.metrics = self.attribute()
        return f"{(time.perf_counter() - begin) / repetitions:.9f}"

    def result(self) -> str:
        """The metrics of the last run."""
        return " ".join(repr(value) for value in self.metrics)

    @torch.inference_mode()
    def attribute(self) -> list[float]:
        """One run, from token ids to metrics."""
        attentions = torch.stack(self.model(**self.inputs).attentions)  # [L, B, H, S, S]
        fused = attentions.mean(dim=2)
        mixed = 0.5 * fused + 0.5 * torch.eye(fused.shape[-1])
        mixed = mixed / mixed.sum(dim=-1, keepdim=True)
        rollout = mixed[0]
        for layer in mixed[1:]:
            rollout = layer @ rollout
        last = fused[-1]
        values = (
            last.mean(),
            last.max(),
            entropy(last),
            last.max(dim=-1).values.mean(),
            rollout.max(),
            entropy(rollout),
        )
        return [float(value) for value in values]


def entropy(rows: torch.Tensor) -> torch.Tensor:
    """The mean entropy of rows, in nats."""
    return -(rows * rows.clamp_min(1e-12).log()).sum(dim=-1).mean()


def token_ids(batch: int, length: int, vocabulary: int) -> np.ndarray:
    """The ids of workload.cc: remainders of the numbers of std::mt19937(batch * length)."""
    generator = np.random.RandomState(batch * length)._bit_generator  # its public constructor seeds it differently
    return (generator.random_raw(batch * length) % vocabulary).astype(np.int64).reshape(batch, length)


def available_bytes() -> int:
    """What the kernel could give to a process now."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, value = line.split(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise RuntimeError("/proc/meminfo has no MemAvailable")


if __name__ == "__main__":
    sys.exit(main())
