"""One of our kernels reads and writes outside its memory, for the sanitizer: `injected_fault.py MODULE`.

A script by itself, because under the sanitizer importing torch would take longer than all the rest.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys

#: Behind a tensor of 4 bytes, and yet on the page that the driver has mapped for it: a process that nobody
#: watches notices nothing.
OUTSIDE = 4096


def main(path: str) -> int:
    """`path`: the CUDA module. 0 when the kernel came to its end."""
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cuda = ctypes.CDLL("libcuda.so.1")
    context, memory = ctypes.c_void_p(), ctypes.c_uint64()
    for call, *arguments in (
        (cuda.cuInit, 0),
        (cuda.cuDevicePrimaryCtxRetain, ctypes.byref(context), 0),
        (cuda.cuCtxSetCurrent, context),
        (cuda.cuMemAlloc_v2, ctypes.byref(memory), ctypes.c_size_t(4)),
    ):
        if code := call(*arguments):
            print(f"{call.__name__}: error {code}", flush=True)
            return 1
    module.grid_barriers(memory.value + OUTSIDE, 1, 1, 0)
    return 1 if cuda.cuCtxSynchronize() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
