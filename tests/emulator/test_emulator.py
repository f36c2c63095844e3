"""What the emulator gives, and says, in each of the cases of threads.cu and memory.cu."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emulator.conftest import Outcomes

HERE = Path(__file__).parent

#: Words that a case ends with; "ok" means that all schedules gave the right results.
THREADS = {
    "divergent_barrier": "divergent __syncthreads: this thread is at",
    "exited_threads_do_not_count": "ok",
    "deadlock": "31 threads at",
    "livelock": "livelock: who runs only polls",
    "blocks_wait_without_cooperation": "not all blocks have begun",
    "blocks_wait_in_cooperation": "ok",
    "trap": "trap [thread",
    "recovers": "ok",
    "smaller_device": "ok",
    "too_many_threads": "a block of 1025 x 1 x 1 threads, expected 1 to 1024",
    "no_blocks": "a grid of 0 x 1 x 1 blocks",
    "not_resident": "265 blocks, but only 264 are resident at once",
    "collectives": "ok",
    "shuffle_from_absent_lane": "from lane 16, which does not take part",
    "shuffle_outside_of_mask": "is not in its own mask 00000001",
    "shuffle_in_two_places": "others of its mask ffffffff wait at",
    "multiply_after_exit": "mma.m16n8k16",
    "half_a_warp_multiplies": "lanes ffff0000 of it are not there",
    "cluster_neighbours": "ok",
    "cluster_waits_at_end": "ok",
    "cluster_does_not_wait_at_end": "of the cluster has ended",
    "cluster_leaves_early": "block 1 of the cluster has ended",
    "cluster_arrives_twice": "arrives twice at the cluster's barrier",
    "cluster_waits_only": "without having arrived",
    "cluster_too_large": "a cluster of 32 blocks, the limit is 16",
    "cluster_does_not_divide": "does not divide into clusters of 3",
    "cluster_rank_beyond": "map_shared_rank of block 2 in a cluster of 2",
    "cluster_maps_global_memory": "outside of this block's shared memory",
    "schedules_differ": "ok",
    "seeds_repeat": "ok",
}
MEMORY = {
    "unwritten_shared_memory": "ok",
    "own_memory": "ok",
    "past_static_array": "past the end of a static shared array of 32 bytes",
    "past_dynamic_memory": "past the end of the dynamic shared memory of 31 bytes",
    "allocates_too_much": "a tile of 64 bytes allocated at 128 leaves",
    "dynamic_limit": "232449 bytes of dynamic shared memory, the limit is 232448",
    "static_limit": "53248 bytes of static shared memory, the limit is 49152",
    "common_limit": "4096 bytes of static and 232448 of dynamic shared memory",
    "copies": "ok",
    "copy_from_misaligned": "misaligned address",
    "copy_to_misaligned": "misaligned address",
    "copy_not_waited_for": "ends with copies in flight",
    "copy_to_global": "outside of this block's shared memory",
}
RACES = {
    "unwritten_shared_memory": "shared memory that nobody has written",
    "own_memory": "ok",
    "copies": "ok",
    "block_in_order": "ok",
    "block_without_barrier": "shared memory that nobody has written",
    "rewrite_too_early": "data race on shared memory",
    "warp_in_order": "ok",
    "shuffle_gives_no_order": "data race on shared memory",
    "fence_gives_order": "ok",
    "no_fence": "data race on memory",
    "release_gives_order": "ok",
    "plain_load_of_another_block": "may be served by the first-level cache",
    "same_element": "data race on memory: a write by thread 1 of block 0 at memory.cu:",
    "neighbouring_halves": "ok",
    "read_only_and_written": "through the read-only path",
}
RACES_OF_THREADS = {name: words for name, words in THREADS.items() if name.startswith("cluster")}


@pytest.mark.parametrize(
    ("source", "mode", "case", "words"),
    [
        pytest.param(source, mode, case, words, id=f"{case}-{mode}")
        for source, mode, cases in (
            ("threads.cu", "plain", THREADS),
            ("memory.cu", "plain", MEMORY),
            ("threads.cu", "race", RACES_OF_THREADS),
            ("memory.cu", "race", RACES),
        )
        for case, words in cases.items()
    ],
)
def test_case(outcomes: Outcomes, source: str, mode: str, case: str, words: str) -> None:
    outcome = outcomes(source, mode)[case]
    assert words in outcome
    assert (outcome == "ok") == (words == "ok")


def test_a_place_is_named_by_file_and_line(outcomes: Outcomes) -> None:
    line = next(
        number
        for number, text in enumerate((HERE / "threads.cu").read_text().splitlines(), 1)
        if "ptx::trap()" in text
    )
    assert f"threads.cu:{line}: trap" in outcomes("threads.cu", "plain")["trap"]
    assert "emulated kernel 'case'" in outcomes("threads.cu", "plain")["trap"]
