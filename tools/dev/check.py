"""What a commit should pass, in under two minutes on two cores: linters, types, and the fast tests."""

from __future__ import annotations

from tools.dev.lanes import run_lanes, verdict
from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT

#: For every folder of tests that can be quick, the files that say most about it in a few seconds.
#: tests/tools/test_check.py asserts that they exist, and that no folder is forgotten.
FAST = (
    "tests/test_losses.py",
    "tests/test_structure.py",
    "tests/test_tensors.py",
    "tests/attention/test_accuracy.py",
    "tests/bench/test_harness.py",
    "tests/bench/test_report.py",
    "tests/corpora/test_dates.py",
    "tests/data/test_padded.py",
    "tests/data/test_streams.py",
    "tests/diagnostics/test_gradient_flow.py",
    "tests/embeddings/test_huffman.py",
    "tests/embeddings/test_sampling.py",
    "tests/metrics/test_sequence.py",
    "tests/models/test_language_model.py",
    "tests/models/test_pretrained.py",
    "tests/nn/test_arguments.py",
    "tests/nn/test_attention.py",
    "tests/nn/test_misuse.py",
    "tests/nn/test_recurrent.py",
    "tests/ops/test_attention_inputs.py",
    "tests/ops/test_linear_cross_entropy.py",
    "tests/ops/test_paths.py",
    "tests/ops/test_recurrent_accuracy.py",
    "tests/ops/test_recurrent_inputs.py",
    "tests/ops/test_route.py",
    "tests/optim/test_adamw.py",
    "tests/plot/test_curves.py",
    "tests/recurrent/test_accuracy.py",
    "tests/reference/test_attention.py",
    "tests/reference/test_recurrent.py",
    "tests/search/test_decoder.py",
    "tests/search/test_filtering.py",
    "tests/search/test_scoring.py",
    "tests/swap/test_restore.py",
    "tests/tasks/test_registry.py",
    "tests/text/test_vocabulary.py",
    "tests/text/test_words.py",
    "tests/tools/test_check.py",
    "tests/tools/gpu_proof/test_records.py",
    "tests/train/test_checkpoint.py",
    "tests/train/test_job.py",
    "tests/train/test_run_folder.py",
)
#: Folders without a file above: their tests compile, train, or start processes.
SLOW_FOLDERS = ("cli", "cuda", "emulator", "integrations", "projects")


def check(arguments: list[str]) -> int:
    setup()
    dev = (str(PYTHON), str(ROOT / "dev.py"))
    tests = (str(PYTHON), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *FAST)
    # One process of pyright beside the tests: together they keep two cores busy.
    return verdict(run_lanes({"lint": [(*dev, "lint", *arguments)], "tests": [tests]}))
