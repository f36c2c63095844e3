"""The options --device and --threads, the same for every command that computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

from pyrnn.cli.help import option

if TYPE_CHECKING:
    import torch

Device = Annotated[str, option('"cpu", "cuda", or "auto": cuda where there is one.', metavar="NAME")]
Threads = Annotated[Optional[int], option("CPU threads; as torch decides unless given.", metavar="N")]


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


def use_threads(count: int | None) -> None:
    """Compute on so many CPU threads; None leaves it to torch.

    Raises:
        ValueError: fewer than one, or more than this machine bears.
    """
    if count is None:
        return
    from pyrnn import _native

    try:
        _native.set_num_threads(count)
    except ValueError as error:
        raise ValueError(f"--threads: {error}") from error
