"""What users hang on the parts of a Transformer layer, and what it sees of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SEED, E, H, F = 0, 8, 2, 16
PARTS = {
    "TransformerEncoderLayer": (
        "self_attn", "linear1", "activation", "dropout", "linear2", "norm1", "norm2", "dropout1", "dropout2",
    ),
    "TransformerDecoderLayer": (
        "self_attn", "multihead_attn", "linear1", "activation", "dropout", "linear2", "norm1", "norm2",
        "norm3", "dropout1", "dropout2", "dropout3",
    ),
}  # fmt: skip
BLOCKS = [
    *(("TransformerEncoderLayer", method) for method in ("_sa_block", "_ff_block")),
    *(("TransformerDecoderLayer", method) for method in ("_sa_block", "_mha_block", "_ff_block")),
]
EVERY_PART = [(name, part) for name, parts in PARTS.items() for part in parts]

#: What was seen: words, and copies of the tensors that were there.
Seen = list[Any]


def layer_of(package: Any, name: str, **options: Any) -> Any:
    """torch's layer (`package` torch.nn) or ours (pyrnn.nn): the same weights, a module as activation."""
    torch.manual_seed(SEED)
    options = {"dropout": 0.0, "activation": nn.GELU(), "dtype": torch.float64, **options}
    layer = getattr(package, name)(E, H, F, **options)
    for parameter in layer.parameters():  # biases of zeros would hide that one is left out
        nn.init.normal_(parameter, std=0.3)
    return layer


def tensors(value: Any) -> list[Tensor]:
    """Copies of the tensors in nested tuples and dictionaries, in order; dictionaries by key."""
    if isinstance(value, Tensor):
        return [value.detach().clone()]
    if isinstance(value, dict):
        return [t for key in sorted(value) for t in tensors(value[key])]
    return [t for entry in value for t in tensors(entry)] if isinstance(value, (tuple, list)) else []


def changed(value: Any) -> Any:
    """The value with its first tensor another one: who leaves a hook out computes something else."""
    if isinstance(value, Tensor):
        return value * 1.5 + 0.1
    return (changed(value[0]), *value[1:])


def on_forward(module: nn.Module, seen: Seen) -> None:
    def hook(_: nn.Module, args: Any, output: Any) -> Any:
        seen.extend(["forward", *tensors(args), *tensors(output)])
        return changed(output)

    module.register_forward_hook(hook)


def on_forward_with_kwargs(module: nn.Module, seen: Seen) -> None:
    def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        seen.extend(["forward", *sorted(kwargs), *tensors(args), *tensors(kwargs)])
        return changed(output)

    module.register_forward_hook(hook, with_kwargs=True, always_call=True)


def before_forward(module: nn.Module, seen: Seen) -> None:
    def hook(_: nn.Module, args: Any) -> Any:
        seen.extend(["before", *tensors(args)])
        return tuple(map(changed, args))

    module.register_forward_pre_hook(hook)


def before_forward_with_kwargs(module: nn.Module, seen: Seen) -> None:
    def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
        seen.extend(["before", *sorted(kwargs), *tensors(args), *tensors(kwargs)])
        return tuple(map(changed, args)), kwargs

    module.register_forward_pre_hook(hook, with_kwargs=True)


def on_backward(module: nn.Module, seen: Seen) -> None:
    def hook(_: nn.Module, grad_input: Any, grad_output: Any) -> Any:
        seen.extend(["backward", *tensors(grad_input), *tensors(grad_output)])
        return tuple(None if grad is None else 2 * grad for grad in grad_input)

    module.register_full_backward_hook(hook)


def before_backward(module: nn.Module, seen: Seen) -> None:
    def hook(_: nn.Module, grad_output: Any) -> Any:
        seen.extend(["before backward", *tensors(grad_output)])
        return tuple(None if grad is None else 2 * grad for grad in grad_output)

    module.register_full_backward_pre_hook(hook)


def on_instance(module: Any, seen: Seen) -> None:
    """What libraries that move or quantise weights do: the module's own forward inside another one."""
    forward = module.forward

    def replacement(*args: Any, **kwargs: Any) -> Any:
        seen.extend(["instance", *sorted(kwargs), *tensors(args), *tensors(kwargs)])
        return changed(forward(*args, **kwargs))

    module.forward = replacement


def as_subclass(module: nn.Module, seen: Seen) -> None:
    base: Any = type(module)

    class Sub(base):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            seen.extend(["subclass", *tensors(args)])
            return changed(super().forward(*args, **kwargs))

    module.__class__ = Sub


HUNG: dict[str, Callable[[Any, Seen], None]] = {
    function.__name__: function
    for function in (
        on_forward, on_forward_with_kwargs, before_forward, before_forward_with_kwargs, on_backward,
        before_backward, on_instance, as_subclass,
    )
}  # fmt: skip


def call(layer: Any, *, masked: bool) -> tuple[Tensor, ...]:
    """Output and gradients of one call; the output alone where gradients are off."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 3, E, generator=generator, dtype=torch.float64).requires_grad_()
    decodes = isinstance(layer, nn.TransformerDecoderLayer)
    args = (x, x.detach() * 0.5) if decodes else (x,)
    masks: dict[str, Tensor] = {}
    if masked:
        side = "tgt" if decodes else "src"
        masks[f"{side}_mask"] = torch.ones(5, 5, dtype=torch.bool).triu(1)
        masks[f"{side}_key_padding_mask"] = torch.arange(5) >= torch.tensor([[5], [3], [4]])
    output = layer(*args, **masks)
    if not torch.is_grad_enabled():
        return (output,)
    return output, *torch.autograd.grad(output.square().sum(), x)


def assert_seen_alike(ours: Seen, theirs: Seen) -> None:
    """Require the same words and tensors in the same order."""
    words = [[entry for entry in seen if isinstance(entry, str)] for seen in (ours, theirs)]
    assert words[0] == words[1]
    torch.testing.assert_close(
        [entry for entry in ours if isinstance(entry, Tensor)],
        [entry for entry in theirs if isinstance(entry, Tensor)],
        rtol=1e-9,
        atol=1e-10,
    )


def assert_alike(ours: Any, theirs: Any, seen: Seen, *, masked: bool = True) -> None:
    """Require the same results of both layers in every mode, and that what hangs on them saw the same."""
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        for gradients in (True, False):
            observed = []
            results = []
            for layer in (ours, theirs):
                seen.clear()
                # torch's one-call layer of evaluation passes by what is not a hook.
                fast = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
                try:
                    with torch.set_grad_enabled(gradients):
                        results.append(call(layer, masked=masked))
                finally:
                    torch.backends.mha.set_fastpath_enabled(fast)
                observed.append(list(seen))
            torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-10)
            assert_seen_alike(*observed)
