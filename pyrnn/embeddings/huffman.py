"""Huffman codes: for hierarchical softmax, whose frequent words have short paths.

Source: Huffman, "A method for the construction of minimum-redundancy codes", 1952; the two queues are van
Leeuwen's, "On the construction of Huffman trees", 1976.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class HuffmanCodes(NamedTuple):
    """The way from the root to each of V words, through V - 1 inner nodes.

    Args:
        begin: [V + 1] int64, where in the others each word's path begins.
        nodes: int32 in [0, V - 1); the root is 0, and a node that is passed more often has a smaller number.
        signs: float32, 1 where the path takes the first branch (the bit 0) and -1 where it takes the second.
    """

    begin: NDArray[np.int64]
    nodes: NDArray[np.int32]
    signs: NDArray[np.float32]

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> HuffmanCodes:
        """The codes for counts [V], none larger than the one before it.

        Raises:
            ValueError: there is one word alone, which needs no code.

        Example:
            >>> codes = HuffmanCodes.of(np.array([5, 2, 1, 1]))
            >>> codes.begin.tolist(), codes.nodes.tolist()
            ([0, 1, 3, 6, 9], [0, 0, 1, 0, 1, 2, 0, 1, 2])
        """
        V = len(counts)
        if V < 2:
            raise ValueError("hierarchical softmax needs at least two words in the vocabulary, got 1")
        # Leaves from the rarest on, and inner nodes as they are made, are both sorted by weight: the two
        # lightest of all stand at the ends of the two queues.
        weights = np.zeros(2 * V - 1, np.int64)
        weights[:V] = counts[::-1]
        parent, bit = [0] * (2 * V - 1), [0] * (2 * V - 1)
        plain = weights.tolist()
        leaf, inner = 0, V
        for made in range(V, 2 * V - 1):
            total = 0
            for branch in (1, 0):  # the lighter one gets the bit 1
                take_leaf = leaf < V and (inner >= made or plain[leaf] <= plain[inner])
                child = leaf if take_leaf else inner
                leaf, inner = leaf + take_leaf, inner + (not take_leaf)
                parent[child], bit[child] = made, branch
                total += plain[child]
            plain[made] = total
        return cls._paths(V, np.array(parent), np.array(bit))

    @classmethod
    def _paths(cls, V: int, parent: NDArray[np.int64], bit: NDArray[np.int64]) -> HuffmanCodes:
        root = 2 * V - 2
        lengths = np.zeros(V, np.int64)
        places = np.arange(V)[::-1].copy()  # word i is leaf V - 1 - i
        steps: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        words = np.arange(V)
        while len(words):
            steps.append((words, root - parent[places], bit[places]))
            lengths[words] += 1
            places = parent[places]
            going = places != root
            words, places = words[going], places[going]
        begin = np.concatenate(([0], np.cumsum(lengths)))
        nodes, signs = np.empty(begin[-1], np.int32), np.empty(begin[-1], np.float32)
        for back, (found, node, branch) in enumerate(steps, 1):
            nodes[begin[found + 1] - back] = node
            signs[begin[found + 1] - back] = 1 - 2 * branch
        return cls(begin, nodes, signs)
