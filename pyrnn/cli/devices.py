"""The option --device, the same for every command that computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

Device = Annotated[str, typer.Option(help='"cpu", "cuda", or "auto": cuda where there is one.')]


def device_of(name: str) -> torch.device:
    """The device that a user names.

    Raises:
        ValueError: there is no such device, or torch sees none here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: {error}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f'--device {name}: expected "cpu", "cuda" or "auto"')
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no GPU here; use --device cpu")
    return device
