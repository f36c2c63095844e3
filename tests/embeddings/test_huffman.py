"""Huffman codes are prefix codes, and none is shorter on the whole."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.embeddings.huffman import HuffmanCodes


def paths_of(codes: HuffmanCodes) -> list[tuple[list[int], list[int]]]:
    """Nodes and bits of every word."""
    spans = itertools.pairwise(codes.begin.tolist())
    return [(codes.nodes[b:e].tolist(), [int(s < 0) for s in codes.signs[b:e]]) for b, e in spans]


def shortest_total(counts: list[int]) -> int:
    """Bits of a text in the best code: the sum of all inner nodes' weights (Huffman, 1952)."""
    heap, total = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@given(st.lists(st.integers(1, 10**12), min_size=2, max_size=60))
def test_codes_are_optimal_and_none_begins_another(counts: list[int]) -> None:
    counts.sort(reverse=True)
    paths = paths_of(HuffmanCodes.of(np.array(counts)))
    bits = [tuple(bits) for _, bits in paths]
    assert sum(count * len(own) for count, own in zip(counts, bits, strict=True)) == shortest_total(counts)
    assert sum(2.0 ** -len(own) for own in bits) == 1  # with distinct codes: a full tree
    assert len(set(bits)) == len(bits)
    nodes: dict[tuple[int, ...], int] = {(): 0}
    for path, own in paths:  # a node is the same bits for every word, and no other's
        for depth, node in enumerate(path):
            assert nodes.setdefault(own_begin := tuple(own[:depth]), node) == node, own_begin
    assert sorted(nodes.values()) == list(range(len(counts) - 1))


def test_a_node_near_the_root_has_a_small_number() -> None:
    codes = HuffmanCodes.of(np.array([8, 4, 2, 1, 1]))
    assert [nodes for nodes, _ in paths_of(codes)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_one_word_needs_no_code() -> None:
    with pytest.raises(ValueError, match="at least two words"):
        HuffmanCodes.of(np.array([7]))
