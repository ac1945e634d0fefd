"""What differs for models that take an image instead of tokens."""

from __future__ import annotations

from typing import Any

import torch

from .errors import ExportError


def takes_pixels(model: torch.nn.Module) -> bool:
    """Whether the model's input is an image."""
    return getattr(model, "main_input_name", "input_ids") == "pixel_values"


def pixel_shape(model: Any) -> list[int]:
    """Channels, height and width of the image that the model takes."""
    channels = getattr(model.config, "num_channels", None)
    size = getattr(model.config, "image_size", None)
    if not isinstance(channels, int) or size is None:
        raise ExportError(
            f"The configuration does not tell the image's size: {type(model).__name__}. Export a ViT, DeiT or BEiT."
        )
    return [channels, *_pair(size)]


def example_pixels(model: Any, batch: int, seed: int) -> torch.Tensor:
    """Draws images [batch, channels, height, width] of the weights' dtype, standard normal."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(batch, *pixel_shape(model), generator=generator)
    return pixels.to(next(model.parameters()).dtype)


def patch_grid(model: Any, positions: int) -> dict[str, int] | None:
    """Where the patches are among the `positions` of the last hidden value: at their end, row by row.

    None if the configuration tells no patch size, or the positions are not patches.
    """
    size = getattr(model.config, "patch_size", None)
    if size is None:
        return None
    (height, width), (patch_height, patch_width) = pixel_shape(model)[1:], _pair(size)
    rows, columns = height // patch_height, width // patch_width
    first = positions - rows * columns
    return {"rows": rows, "columns": columns, "first_position": first} if first >= 0 else None


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
