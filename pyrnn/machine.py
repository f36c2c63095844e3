"""The machine: its processor in words, for the line beside a measurement."""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path

import torch

from pyrnn._words import counted


@functools.cache
def processor() -> tuple[str, str]:
    """Vendor and model name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    vendor = re.search(r"^(?:vendor_id|CPU implementer)\s*:\s*(.+)$", text, re.M)
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return (
        vendor[1] if vendor else "unknown",
        model[1] if model else platform.processor() or platform.machine(),
    )


def memory_of(device: torch.device) -> int:
    """Bytes of memory that the device has, used or not.

    Example:
        >>> memory_of(torch.device("cpu")) > 2**20
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe_machine() -> str:
    """Processor, threads and torch version.

    Example:
        >>> describe_machine()
        '..., ... thread..., torch ...'
    """
    return f"{processor()[1]}, {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}"
