#!/usr/bin/env python3
"""What must pass before a change is accepted, in lanes side by side; the README's commands among it.

Every instruction set is compiled here, and those of this machine are tested. The times of the steps go to
build/ci-times.json, from which `dev.py bench build` makes a record.
"""

import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.dont_write_bytecode = True

from tools.dev.lanes import run_lanes, share_cores, verdict  # noqa: E402

FAULTS = ("tests/cuda/test_faults.py", "tests/cuda/test_determinism.py")
ACCURACY = "(bfloat16 and cluster) or (float32 and persistent)"
QUICK = ("--dtype", "float32", "--shapes", "quick", "--no-record")

#: After the set-up, which they share; about as long as each other. The benchmarks only have to run: nothing
#: is read from their times.
LANES = {
    "tests": [
        ("test",),
        ("fuzz", "--seconds", "60"),
        ("demo", "--quick"),
        ("emulate", "race", *FAULTS, "-k", "release or acquire or without or order_of_threads"),
        ("bench", "recurrent", *QUICK, "--variant", "plain", "--seconds", "0.2"),
        ("bench", "attention", *QUICK, "--variant", "plain", "decode", "--seconds", "0.1"),
        ("bench", "decoder", *QUICK, "--variant", "plain", "--seconds", "0.1"),
        ("bench", "linear", *QUICK, "--seconds", "0.05"),
        ("bench", "overhead", *QUICK, "--seconds", "0.05"),
        ("bench", "generation", *QUICK, "--seconds", "0.05"),
        ("bench", "seq2seq", *QUICK, "--seconds", "0.05"),
        ("bench", "transformer", *QUICK, "--variant", "dropout", "--seconds", "0.1"),
    ],
    "compilers": [
        ("lint",),
        ("build", "--quick"),
        ("ctest",),
        ("sass", "--architectures", "90a"),  # by hand of all: each takes minutes
        ("emulate", "sanitized", "tests/cuda/test_accuracy.py", "-k", ACCURACY),
    ],
}


def main() -> int:
    """Set up, run the lanes, and say what failed."""
    os.environ.setdefault("PYRNN_INSTRUCTION_SETS", "all")
    share_cores()
    started, command = time.monotonic(), (sys.executable, "dev.py")
    results = run_lanes({"setup": [(*command, "setup")]})
    if not any(result.status for result in results):
        lanes = {name: [(*command, *step) for step in steps] for name, steps in LANES.items()}
        results += run_lanes(lanes)
    times = ROOT / "build" / "ci-times.json"
    times.parent.mkdir(exist_ok=True)
    steps = [result._asdict() for result in results]
    times.write_text(json.dumps({"seconds": time.monotonic() - started, "steps": steps}) + "\n")
    return verdict(results)


if __name__ == "__main__":
    sys.exit(main())
