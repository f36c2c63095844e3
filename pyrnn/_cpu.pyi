# The compiled module (csrc/module.cpp). A struct is a tuple of the fields that `fields` names.

from collections.abc import Sequence
from typing import Any, Protocol

__version__: str
fields: dict[str, tuple[str, ...]]  # of each struct
cells: dict[str, tuple[int, int, int, int]]  # code, gates, slots, saved
dtypes: dict[str, int]

def isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def fma_peak(dtype: int, threads: int) -> float: ...
def advise_huge_pages(address: int, size: int) -> None: ...
def use_torch(
    *,
    tensor: Any,
    parameter: Any,
    storage: Any,
    strided: Any,
    empty: Any,
    grad_enabled: Any,
    forward_ad: Any,
    dtypes: dict[int, Any],
    uint8: Any,
    watchers: tuple[Any, ...],
) -> None: ...
def can_bypass_dispatcher(tensors: tuple[Any, ...], /) -> bool: ...

class _Run(Protocol):
    def __call__(
        self,
        problem: tuple[Any, ...],
        directions: tuple[tuple[int, ...], ...],
        batch_sizes: int,
        threads: int,
        group_size: int,
        /,
    ) -> None: ...

recurrent_forward: _Run
recurrent_backward: _Run

def recurrent_split(
    problem: tuple[Any, ...], backward: bool, threads: int, group_size: int, /
) -> tuple[int, int, int, str]: ...

# A small call that is declined gives words. With `asked` as its threads nothing is computed.
asked: int

def recurrent_call(
    record: Any,
    cell: int,
    layout: int,
    threads: int,
    group_size: int,
    input: Any,
    states: Any,
    /,
    *weights: Any,
) -> tuple[Any, ...] | str: ...
def recurrent_train(
    cell: int, layout: int, threads: int, group_size: int, tensors: tuple[Any, ...], /
) -> tuple[Any, ...] | None: ...
def recurrent_gradients(
    cell: int,
    layout: int,
    threads: int,
    group_size: int,
    tensors: tuple[Any, ...],
    grads: tuple[Any, ...],
    kept: Any,
    needs: tuple[bool, ...],
    /,
) -> tuple[Any, ...] | None: ...
def attention_call(record: Any, options: tuple[Any, ...], threads: int, packed: Any, /) -> Any: ...
def attention_train(options: tuple[Any, ...], threads: int, packed: Any, /) -> tuple[Any, Any] | None: ...
def attention_gradient(
    options: tuple[Any, ...], threads: int, packed: Any, output: Any, statistics: Any, grad: Any, /
) -> Any: ...
def attention_cached(
    options: tuple[Any, ...], threads: int, packed: Any, keys: Any, values: Any, begin: int, end: int, /
) -> Any: ...

class FrozenTensors:
    def __init__(self, tensors: tuple[Any, ...], /) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...

class PackedWeights:
    def __init__(self, problem: tuple[Any, ...], directions: tuple[tuple[int, ...], ...], /) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...

def use_modules(kinds: tuple[Any, ...], global_hooks: tuple[Any, ...], /) -> None: ...
def transformer_layers(
    modules: tuple[Any, ...], calls: tuple[Any, ...], norm: Any, input: Any, threads: int, /
) -> Any: ...
def multihead_attention(
    module: Any, options: tuple[Any, ...], input: Any, room: tuple[Any, ...] | None, threads: int, /
) -> Any: ...
def most_rows() -> int: ...
def linear_of_rows(input: Any, weight: Any, bias: Any, activation: int, threads: int, /) -> Any: ...
def dropout_forward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def dropout_backward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def residual_norm_forward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def residual_norm_backward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def rotary(problem: tuple[Any, ...], threads: int, /) -> None: ...
def crf_forward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def crf_backward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def crf_viterbi(problem: tuple[Any, ...], threads: int, /) -> None: ...
def cross_entropy(problem: tuple[Any, ...], threads: int, /) -> None: ...

# The norm of the gradients before clipping, or why this is no call for it.
def adamw(
    groups: Sequence[tuple[Any, ...]], clip: float, grad_scale: float, skip: bool, threads: int, /
) -> float | str | None: ...
def decoder_forward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def decoder_backward(problem: tuple[Any, ...], threads: int, /) -> None: ...
def decoder_call(
    cell: int, scale: float, cumulative: bool, tensors: tuple[Any, ...], threads: int, /
) -> Any: ...
def decoder_threads(problem: tuple[Any, ...], threads: int, /) -> int: ...
def attention_forward(sizes: tuple[Any, ...], tensors: tuple[Any, ...], threads: int, /) -> None: ...
def attention_backward(sizes: tuple[Any, ...], tensors: tuple[Any, ...], threads: int, /) -> None: ...

# ---- word vectors

word2vec_row_unit: int
word2vec_task: int
word2vec_group: int
word2vec_most_targets: int

# of each word its own row and those of its n-grams, int32 as bytes, and how many
def word_rows(
    words: Sequence[str] | Sequence[bytes], shortest: int, longest: int, buckets: int, /
) -> tuple[bytes, list[int]]: ...

# loss, predictions, words
def word2vec(problem: tuple[Any, ...], threads: int, /) -> tuple[float, int, int]: ...
def nearest(problem: tuple[Any, ...], threads: int, /) -> None: ...

# ---- search

most_beam_width: int

# Whether each row has one, and no logit is NaN or +inf.
def likeliest_tokens(
    dtype: int, logits: int, rows: int, V: int, banned: Sequence[int], tokens: int, threads: int, /
) -> bool: ...
def log_partition(
    dtype: int, logits: int, rows: int, V: int, largest: int, log_sum: int, threads: int, /
) -> None: ...

class Beam:
    def __init__(
        self,
        width: int,
        n_best: int,
        eos_id: int,
        V: int,
        limits: Sequence[int],
        norm_at_limit: Sequence[float],
        /,
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def most_rows(self) -> int: ...
    @property
    def searching(self) -> list[int]: ...
    # rows, whether each stays in its place, the sum of the largest logits
    def advance(
        self,
        dtype: int,
        raw: int,
        allowed: int,
        banned: Sequence[int],
        norm: float,
        tokens: int,
        from_rows: int,
        threads: int,
        /,
    ) -> tuple[int, bool, float]: ...
    # of each source: score, log-probability, tokens, rows of the logits
    def found(self) -> list[list[tuple[float, float, tuple[int, ...], tuple[int, ...]]]]: ...

# ---- counts of pairs, and GloVe

# The sum of f e^2; the pairs are used up.
def glove(problem: tuple[Any, ...], threads: int, /) -> float: ...

class CooccurrenceCounter:
    def __init__(
        self, V: int, window: int, symmetric: bool, harmonic: bool, memory: int, file: int, /
    ) -> None: ...
    def add(self, ids: int, count: int, /) -> None: ...
    def finish(self) -> None: ...
    # How many pairs were written to the address; 0: there are no more.
    def take(self, pairs: int, most: int, /) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def runs(self) -> int: ...
