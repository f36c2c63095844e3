"""What kinds of batches have in common: `pyrnn.train.Batches` is the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

#: Fields whose sequences are of the same lengths, by the name that their lengths have.
Groups = Mapping[str, Sequence[str]]


def require_even_shares(batch_size: int, shards: int) -> None:
    """Refuse a batch that cannot be shared evenly.

    Raises:
        ValueError: `batch_size` is no multiple of `shards`.

    Example:
        >>> require_even_shares(8, 4)
    """
    if batch_size % shards:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared evenly by {shards} processes or parts: choose a "
            f"batch_size that is a multiple of {shards}"
        )


def grouped(fields: Sequence[str], groups: Groups | None) -> Groups:
    """`groups`, or all fields as the one group "lengths".

    Raises:
        ValueError: a field is not in one group, a group has none, or bears the name of a field.

    Example:
        >>> grouped(["token", "tag"], None)
        {'lengths': ('token', 'tag')}
    """
    if groups is None:
        return {"lengths": tuple(fields)}
    named = [name for members in groups.values() for name in members]
    if sorted(named) != sorted(fields) or not all(groups.values()) or groups.keys() & set(fields):
        shown = ", ".join(f"{name} of {' and '.join(members)}" for name, members in groups.items())
        raise ValueError(
            f"each of the fields {', '.join(fields)} must have lengths of one name, which is no field's, got "
            f"{shown}"
        )
    return groups


def lengths_of(fields: Mapping[str, Sequence[Tensor]], groups: Groups | None = None) -> dict[str, list[int]]:
    """How long the N sequences of each group are.

    Raises:
        ValueError: as of `grouped`; no sequences, an empty one, fields that differ in their number, or in
            their lengths within a group.

    Example:
        >>> import torch
        >>> fields = {"source": [torch.ones(3)], "target": [torch.ones(2)]}
        >>> lengths_of(fields, {"source_lengths": ["source"], "target_lengths": ["target"]})
        {'source_lengths': [3], 'target_lengths': [2]}
    """
    found = {}
    for group, names in grouped(list(fields), groups).items():
        lengths = {name: [len(item) for item in fields[name]] for name in names}
        first = next(iter(lengths.values()), [])
        if not first:
            raise ValueError("there are no sequences: expected at least one")
        for name, own in lengths.items():
            if own != first:
                raise ValueError(f"the sequences of {name!r} differ in length from those of the first field")
        if 0 in first:
            raise ValueError(f"sequence {first.index(0)} is empty: leave empty ones out")
        found[group] = first
    if len({len(own) for own in found.values()}) > 1:
        counts = ", ".join(f"{len(own)} for {group}" for group, own in found.items())
        raise ValueError(f"every field must have as many sequences, got {counts}")
    return found
