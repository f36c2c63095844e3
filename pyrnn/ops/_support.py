"""Which devices and dtypes have native kernels, and the words for those that have none."""

from __future__ import annotations

import torch

#: Dtypes that the kernels of each backend compute in.
NATIVE_DTYPES = {
    "cpu": (torch.float32, torch.float64, torch.bfloat16),
    "cuda": (torch.float32, torch.float64, torch.bfloat16, torch.float16),
}


def why_not_dtype(backend: str, dtype: torch.dtype) -> str:
    """Why no kernel of a backend computes in this dtype, in words; empty where one does."""
    if dtype in NATIVE_DTYPES[backend]:
        return ""
    names = ", ".join(str(native) for native in NATIVE_DTYPES[backend])
    return f"the native {backend.upper()} kernels compute in {names}, not in {dtype}"


def why_not_on_cpu(what: str, device_type: str, dtype: torch.dtype) -> str:
    """The same of an operator that has kernels on the CPU alone."""
    if device_type not in ("cpu", "meta"):
        return f"there is no native kernel of {what} for device type {device_type!r}"
    return why_not_dtype("cpu", dtype)
