"""Keys and values that attention has computed already, kept for the tokens that follow."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrnn._checks import as_bool, as_integer, check_all_dense, check_dense


class _Room:
    """How far buffers are written, by all caches that share them: only the cache that ends there writes on.

    Attributes:
        shared: Whether more than one cache may hold these buffers.
    """

    def __init__(self, end: int) -> None:
        self._end = {end}
        self.shared = False

    def take(self, begin: int, end: int) -> bool:
        """Claim the rows from `begin`, where the caller's keys end, to `end`; False if they are another's."""
        try:
            self._end.remove(begin)  # one step: of two threads, one succeeds
        except KeyError:
            return False
        self._end.add(end)
        return True


class KeyValueCache:
    """The keys and values of one attention layer, appended to as sequences grow.

    With S keys kept and T new ones, `append` writes the T behind the others: a buffer that must grow gets
    twice the room it needs, so n tokens cost O(n) copies. While gradients are recorded, old and new keys are
    concatenated instead, because what backward is going to read must not be written to. A `branch` shares
    the buffers: what was written is never changed, and of several that go on, one has the room behind it.

    A fixed cache holds the keys of a memory that does not grow (an encoder's output): the first call fills
    it, and later ones use what it holds without projecting the memory again.

    Args:
        keep: Keys of earlier calls that stay visible (None: all). A layer whose window reaches `left` keys
            back needs no more than `left`.
        fixed: The keys are those of a memory: filled once, never appended to.

    Attributes:
        position: Tokens seen so far, also those forgotten: where the next token stands.

    Raises:
        ValueError: `keep` is negative, or given together with `fixed`.

    Source: Shazeer, Fast Transformer Decoding: One Write-Head is All You Need (2019), section 2.4.

    Example:
        >>> import torch, pyrnn.nn
        >>> attention = pyrnn.nn.MultiheadAttention(8, 2, causal=True).eval()
        >>> x, cache = torch.randn(5, 1, 8), attention.new_cache()
        >>> whole, _ = attention(x, x, x)
        >>> steps = [attention(token, token, token, cache=cache)[0] for token in x.split(1)]
        >>> torch.testing.assert_close(torch.cat(steps), whole)
        >>> cache
        KeyValueCache(length=5, position=5)
    """

    def __init__(self, *, keep: int | None = None, fixed: bool = False) -> None:
        keep, fixed = None if keep is None else as_integer("keep", keep), as_bool("fixed", fixed)
        if keep is not None and (keep < 0 or fixed):
            raise ValueError(
                "KeyValueCache expects keep >= 0, and None with fixed=True, for a memory is kept whole; "
                f"got keep={keep}, fixed={fixed}"
            )
        self.keep = keep
        self.fixed = fixed
        self.clear()

    def clear(self) -> None:
        """Forget everything: the next call is the first."""
        # Keys [B, H, capacity, D], values [B, H, capacity, V] and, once a key is padding, bool [B, 1,
        # capacity, 1].
        self._buffers: list[Tensor] = []
        self._begin = self._end = 0
        # None where the buffers are not the caches' own: those of a first call are the caller's tensors.
        self._room: _Room | None = None
        self.position = 0

    def branch(self) -> KeyValueCache:
        """Another cache that holds the same; either may go on, and the other will not see it."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._buffers = list(self._buffers)
        if self._room is not None:
            self._room.shared = True
        return other

    @property
    def length(self) -> int:
        """S, how many keys are kept."""
        return self._end - self._begin

    @property
    def keys(self) -> Tensor | None:
        """The keys kept, [B, H, S, D]; None before the first call."""
        return self._kept(0)

    @property
    def values(self) -> Tensor | None:
        """The values kept, [B, H, S, V]; None before the first call."""
        return self._kept(1)

    @property
    def padding(self) -> Tensor | None:
        """Which of the keys kept are padding, bool [B, S]; None if no call told of any."""
        padding = self._kept(2)
        return None if padding is None else padding[:, 0, :, 0]

    @property
    def memory(self) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Keys, values and padding, bool [B, 1, S, 1] or None, of a memory that is held; else None."""
        if not self.fixed or not self._buffers:
            return None
        keys, values, *padding = self._buffers
        return keys, values, padding[0] if padding else None

    def length_with(self, T: int) -> int:
        """How many keys are kept once T more are appended; of a memory that is held already, its own."""
        if self.fixed and self._buffers:
            return self.length
        return T + (self.length if self.keep is None else min(self.length, self.keep))

    def append(self, keys: Tensor, values: Tensor, padding: Tensor | None = None) -> None:
        """Forget what is older than `keep`, and put new keys and values behind the rest.

        Args:
            keys: [B, H, T, D].
            values: [B, H, T, V].
            padding: bool [B, T], True where a key is padding; None if none is.

        Raises:
            ValueError: a shape, dtype or device differs from what is kept; the cache is fixed and filled.
        """
        self._check(keys, values, padding)
        T = keys.shape[2]
        new = [keys, values]
        if padding is not None or len(self._buffers) == 3:
            new.append(_padding_column(keys, T) if padding is None else padding[:, None, :, None])
            if len(self._buffers) == 2:
                self._buffers.append(_padding_column(keys, self._buffers[0].shape[2]))
        if self.keep is not None:
            self._begin = max(self._begin, self._end - self.keep)
        if not self._buffers:
            self._replace(new)
        elif torch.is_grad_enabled():
            pairs = zip(self._all_kept(), new, strict=True)
            self._replace([torch.cat(pair, dim=2) for pair in pairs])
        else:
            self._make_room(T)
            for buffer, rows in zip(self._buffers, new, strict=True):
                buffer[:, :, self._end : self._end + T] = rows
            self._end += T
        self.position += T

    def room_for(self, T: int) -> tuple[Tensor, Tensor, int, int] | None:
        """Buffers of keys and values with room for T more, and begin and end of those that are kept.

        They are the caller's to write behind `end`, who then tells it with `extend`, or with `withdraw` if
        they were not written. None where only `append` can add any: to an empty cache, with padding, or while
        gradients are recorded.
        """
        if len(self._buffers) != 2 or self.fixed or torch.is_grad_enabled():
            return None
        if self.keep is not None:
            self._begin = max(self._begin, self._end - self.keep)
        self._make_room(T)
        return self._buffers[0], self._buffers[1], self._begin, self._end

    def extend(self, T: int) -> None:
        """Take the T keys and values that were written into the room for them."""
        self._end += T
        self.position += T

    def withdraw(self, T: int) -> None:
        """Give the room for T more back."""
        if self._room is not None:
            self._room.take(self._end + T, self._end)

    def reorder(self, indices: Tensor) -> None:
        """Let row `indices[n]` be row n from now on: the beams that survive, some of them more than once.

        One copy of what is kept; none on the CPU if every row stays where it is. A GPU is not asked, for the
        host would wait for the answer.

        Args:
            indices: int64 [N]. N may differ from B.
        """
        check_dense("indices", indices)
        if not self._buffers:
            return
        if indices.is_cpu and torch.equal(indices, torch.arange(self._buffers[0].shape[0])):
            return
        if torch.is_grad_enabled():
            self._replace([kept.index_select(0, indices) for kept in self._all_kept()])
        else:
            self._move(self._buffers[0].shape[2], indices)

    def detach(self) -> None:
        """Let no gradient flow back into earlier calls (truncated back-propagation)."""
        self._buffers = [buffer.detach() for buffer in self._buffers]

    def truncate(self, length: int) -> None:
        """Keep the first `length` of the keys alone: the tokens behind them are taken back.

        Raises:
            ValueError: `length` is negative or more than is kept, or the cache is fixed.
        """
        length = as_integer("length", length)
        if self.fixed or not 0 <= length <= self.length:
            raise ValueError(
                f"truncate expects a length from 0 to the {self.length} keys kept, and a cache that is not "
                f"fixed; got {length}, fixed={self.fixed}"
            )
        self.position -= self.length - length
        end = self._begin + length
        if self._room is not None and not self._room.shared:
            self._room.take(self._end, end)
        self._end = end

    def __repr__(self) -> str:
        keep = "" if self.keep is None else f", keep={self.keep}"
        fixed = ", fixed=True" if self.fixed else ""
        return f"KeyValueCache(length={self.length}, position={self.position}{keep}{fixed})"

    def _kept(self, number: int) -> Tensor | None:
        if number >= len(self._buffers):
            return None
        return self._buffers[number][:, :, self._begin : self._end]

    def _all_kept(self) -> list[Tensor]:
        return [buffer[:, :, self._begin : self._end] for buffer in self._buffers]

    def _replace(self, buffers: list[Tensor]) -> None:
        """Take tensors that hold exactly what is to be kept, and that others may read: never written to."""
        self._buffers, self._room = buffers, None
        self._begin, self._end = 0, buffers[0].shape[2]

    def _make_room(self, T: int) -> None:
        """Buffers that may be written to, with room for T more keys, which is taken."""
        needed, capacity = self.length + T, self._buffers[0].shape[2]
        # An inference tensor may be written to in inference mode alone.
        writable = torch.is_inference_mode_enabled() or not self._buffers[0].is_inference()
        room = self._room if writable and self._end + T <= capacity else None
        if room is None or not room.take(self._end, self._end + T):
            self._move(2 * needed)
            self._room.take(self._end, self._end + T)  # type: ignore[union-attr]  just made

    def _move(self, capacity: int, indices: Tensor | None = None) -> None:
        """Copy what is kept, or the rows `indices` of it, to the start of new buffers."""
        length = self.length
        moved = []
        for buffer, kept in zip(self._buffers, self._all_kept(), strict=True):
            B, H, _, D = buffer.shape
            new = buffer.new_empty(B if indices is None else indices.shape[0], H, capacity, D)
            if indices is None:
                new[:, :, :length] = kept
            else:
                torch.index_select(kept, 0, indices, out=new[:, :, :length])
            moved.append(new)
        self._buffers, self._room = moved, _Room(length)
        self._begin, self._end = 0, length

    def _check(self, keys: Tensor, values: Tensor, padding: Tensor | None) -> None:
        if self.fixed and self._buffers:
            raise ValueError("a fixed cache is filled once: clear() it to keep the keys of another memory")
        check_all_dense(("keys", "values", "padding"), (keys, values, padding), required=2)
        if keys.dim() != 4 or values.dim() != 4 or keys.shape[:3] != values.shape[:3]:
            raise ValueError(
                "expected keys [B, H, T, D] and values [B, H, T, V] with the same B, H and T, got shapes "
                f"{tuple(keys.shape)} and {tuple(values.shape)}"
            )
        B, T = keys.shape[0], keys.shape[2]
        if padding is not None and (padding.dtype != torch.bool or padding.shape != (B, T)):
            raise ValueError(
                f"expected padding of shape {(B, T)} and torch.bool, one entry for each new key; "
                f"got {tuple(padding.shape)}, {padding.dtype}"
            )
        if not self._buffers:
            return
        for name, kept, new in zip(("keys", "values"), self._buffers[:2], (keys, values), strict=True):
            expected = (*kept.shape[:2], T, kept.shape[3])
            if new.shape != expected or new.dtype != kept.dtype or new.device != kept.device:
                raise ValueError(
                    f"expected new {name} of shape {expected}, {kept.dtype}, on {kept.device}, as in the "
                    f"cache; got {tuple(new.shape)}, {new.dtype}, on {new.device}. clear() it, or make a new "
                    "one, for other sequences"
                )


def _padding_column(keys: Tensor, length: int) -> Tensor:
    """No padding, for `length` keys."""
    return torch.zeros(keys.shape[0], 1, length, 1, dtype=torch.bool, device=keys.device)


class CacheList(list["KeyValueCache | CacheList"]):
    """The caches of several layers, or of the parts of one, which change together.

    Example:
        >>> import torch, pyrnn.nn
        >>> layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 16, causal=True).eval()
        >>> model = pyrnn.nn.TransformerEncoder(layer, 3)
        >>> cache = model.new_cache()
        >>> for token in torch.randn(5, 4, 8).split(1):
        ...     output = model(token, cache=cache)
        ...     cache.reorder(torch.tensor([0, 0, 2, 1]))  # a beam search chose these rows
        >>> cache.position
        5
    """

    @property
    def position(self) -> int:
        """Tokens seen so far: where the next token stands."""
        return self[0].position

    def clear(self) -> None:
        """Forget everything, in every cache."""
        for cache in self:
            cache.clear()

    def branch(self) -> CacheList:
        """Caches that hold the same, see `KeyValueCache.branch`."""
        return type(self)(cache.branch() for cache in self)

    def reorder(self, indices: Tensor) -> None:
        """Let row `indices[n]` be row n from now on, in every cache. See `KeyValueCache.reorder`."""
        for cache in self:
            cache.reorder(indices)

    def detach(self) -> None:
        """Let no gradient flow back into earlier calls."""
        for cache in self:
            cache.detach()

    def truncate(self, length: int) -> None:
        """Keep the first `length` of the keys alone, in every cache that is not fixed."""
        for cache in self:
            if isinstance(cache, CacheList) or not cache.fixed:
                cache.truncate(length)
