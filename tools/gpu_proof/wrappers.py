"""The dump stage: what each PTX wrapper gives on the device, for tests that compare its emulation with it."""

from __future__ import annotations

import sys

from pyrnn import _native
from pyrnn._files import read_json, to_json, write_text
from pyrnn.bench import record
from pyrnn.ops.recurrent.cuda import recurrence
from tools.gpu_proof import rehearsal
from tools.gpu_proof.stages import ABSENT, orders


def main() -> int:
    """Write ptx-<capability>.json beside the record."""
    told = orders()
    if rehearsal.begin(told) == "cuda" and (why := _native.why_no_cuda()):
        print(f"nothing to dump: pyrnn has no CUDA kernels in this process: {why}", flush=True)
        return 1
    dump = getattr(recurrence.module(), "ptx_dump", None)
    if dump is None:
        print("this module has no ptx_dump", flush=True)
        return ABSENT
    results: dict[str, tuple[bool, list[float]]] = dump(0)  # whether every bit counts, and the numbers
    env = read_json(told.record)["environment"]
    path = told.record.parent / f"ptx-{env['device'].lower().replace(' ', '-')}.json"
    content = {
        "device": env["device"],
        "capability": env["capability"],
        "record": told.record.stem,
        "results": results,
    }
    write_text(path, to_json(content) + "\n")
    sizes = {name: len(values) for name, (_, values) in results.items()}
    record.append(told.rows, {"file": path.name, "results": sizes})
    print(f"{path}: {sizes}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
