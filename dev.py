#!/usr/bin/env python3
"""One command for every chore, needing nothing but Python: `python3 dev.py demo` works on a fresh checkout.

  setup            make .venv, install torch and the tools, build in place; nothing to do when nothing changed
  demo  [ARGS]     setup, then train the small language model and compare its speed with torch.nn
  test  [ARGS]     setup, then pytest ARGS; without ARGS all tests, one process for each core
  bench [NAME ...] setup, then the benchmark pyrnn/bench/NAME.py (default: recurrent) with the other arguments
                   bench build: times of building, and of the steps of the last .ci/run
  check [--fix]    before a commit: lint, and the fast tests of every package; under two minutes
  lint  [--fix]    ruff, pyright, clang-format and the project rules; --fix rewrites what it can
  ctest [--plain]  the C++ tests under AddressSanitizer and UBSan; --plain leaves the sanitizers out
  build [--cuda]   sdist and wheel into dist/; the wheel is installed into a new environment and tried;
                   --quick: the kernels of the baseline alone, not optimised: are the packages complete?
                   --cuda: the wheel holds the CUDA module for all architectures of a release
  emulate MODE [ARGS]  the CUDA tests on the host: plain, sanitized or race; ARGS go to pytest
  gpu [STAGE ...]  everything that only a machine with a GPU can prove, within 8 minutes (docs/gpu.md);
                   gpu pack, plan: for a machine that is there for minutes; gpu compare, publish: its records
  fuzz [ARGS]      random calls of every operator and layer, valid or not (--seconds, --seed, --only);
                   --sanitized: on a build of the native module with AddressSanitizer and UBSan
  integrations     the tests of tools around torch, and the README's list of what works with them
  matrix [ARGS]    a part of the suite on the oldest, a middle and the newest torch, in environments outside
                   the checkout (--torch 2.11.0; ARGS go to pytest)
  spills [ARGS]    compile the CUDA kernels for every architecture; fail on register spills not declared
  sass [ARGS]      the same, and their instructions: tensor cores, copies, order of the grid's barrier

Environment:
  PYRNN_PYTHON=current   use the running interpreter, which must hold torch and the tools; download nothing
  PYRNN_TORCH=REQ        the torch to install; default: a CPU build when there is no NVIDIA driver
  PYRNN_CUDA=AUTO|ON|OFF whether to build the CUDA module; default AUTO: when a working nvcc is found
  PYRNN_INSTRUCTION_SETS=native|all|LIST  whose CPU kernels a development build has, beside the baseline;
                         default native: the best that this machine has. Wheels have all
  PYRNN_CUDA_ARCHITECTURES=LIST  for which GPUs, for instance 80;90a; default: those of a release
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from tools.dev.build_times import build_times
from tools.dev.check import check
from tools.dev.gpu import gpu
from tools.dev.lint import lint
from tools.dev.native import ctest, emulate, fuzz, sass, spills
from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, fail, run
from tools.dev.wheel import build


def demo(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, "-m", "pyrnn.demo", *arguments)


def test(arguments: list[str]) -> int:
    setup()
    # Files side by side, not tests: many share what is costly to prepare.
    whole = ("-n", str(min(os.cpu_count() or 1, 8)), "--dist", "loadfile")
    return run(PYTHON, "-m", "pytest", *(arguments or whole))


def bench(arguments: list[str]) -> int:
    if arguments[:1] == ["build"]:
        return build_times(arguments[1:])
    named = bool(arguments) and not arguments[0].startswith("-")
    name, rest = (arguments[0], arguments[1:]) if named else ("recurrent", arguments)
    module = name.replace("-", "_")
    if not (ROOT / "pyrnn" / "bench" / f"{module}.py").exists():
        fail(f"there is no benchmark {name!r}: pyrnn/bench/{module}.py does not exist")
    setup()
    return run(PYTHON, "-m", f"pyrnn.bench.{module}", *rest)


def integrations(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, "-m", "tools.integrations", *arguments)


def matrix(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, "-m", "tools.matrix", *arguments)


def main() -> int:
    functions = (
        demo,
        test,
        check,
        bench,
        lint,
        ctest,
        build,
        emulate,
        gpu,
        fuzz,
        integrations,
        matrix,
        spills,
        sass,
    )
    commands: dict[str, Callable[[list[str]], int]] = {
        "setup": lambda _: setup() or 0,
        **{function.__name__: function for function in functions},
    }
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in commands:
        print(__doc__)
        return 0 if name in ("help", "-h", "--help") else 2
    return commands[name](arguments)


if __name__ == "__main__":
    sys.exit(main())
