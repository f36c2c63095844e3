"""What is built around layers: hooks, parametrizations, pruning, LoRA, checkpointing, averages, replicas."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import module as modules
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from tests.integrations.model import Model, assert_close, batches, loss_of, losses, twins

#: Of the model's tokens, which have no gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients:UserWarning")


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 0.5


class LoRA(nn.Module):
    """A Linear, frozen, and a learned product of two thin matrices beside it."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.weight, self.bias = inner.weight, inner.bias  # as adapters show them
        self.down = nn.Linear(inner.in_features, 2, bias=False)
        self.up = nn.Linear(2, inner.out_features, bias=False)
        nn.init.constant_(self.down.weight, 0.1)
        nn.init.constant_(self.up.weight, 0.1)

    def forward(self, input: Tensor) -> Tensor:
        return self.inner(input) + self.up(self.down(input))


def adapt(model: Model) -> None:
    """At every Linear that is called, those inside the Transformer block included."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, LoRA(child))


def parametrize_all(model: Model) -> None:
    for layer, name in (
        (model.encoder, "weight_hh_l1"), (model.cell, "bias_ih"), (model.block.self_attn, "in_proj_weight"),
        (model.block.linear1, "weight"),
    ):  # fmt: skip
        parametrize.register_parametrization(layer, name, Halved())


def normalise(model: Model) -> None:
    parametrizations.weight_norm(model.encoder, "weight_hh_l0")
    parametrizations.spectral_norm(model.cell, "weight_hh")
    parametrizations.orthogonal(model.block.self_attn, "in_proj_weight")


def prune_all(model: Model) -> None:
    prune.l1_unstructured(model.encoder, "weight_ih_l0", amount=0.3)
    prune.l1_unstructured(model.cell, "weight_hh", amount=0.3)
    prune.l1_unstructured(model.block.linear2, "weight", amount=0.3)


def swap_tensors(model: Model) -> None:
    """Of the block by hand, which torch's recurrent layers refuse; of all of them in a conversion."""
    for parameter in model.block.parameters():
        torch.utils.swap_tensors(parameter, nn.Parameter(parameter.detach() * 0.9))
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.double().float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def to_empty(model: Model) -> None:
    kept = copy.deepcopy(model.state_dict())
    model.to_empty(device="cpu").load_state_dict(kept)


def on_the_meta_device(model: Model) -> None:
    kept = copy.deepcopy(model.state_dict())
    model.to("meta").load_state_dict(kept, assign=True)


def patch_forwards(model: Model) -> None:
    """As libraries that offload or profile do, on the instance."""
    layers: list[Any] = [model.encoder, model.cell, model.block, model.block.self_attn]
    for layer in layers:
        forward = layer.forward
        layer.forward = lambda *args, forward=forward, **kwargs: forward(*args, **kwargs)


@pytest.mark.parametrize(
    "change",
    [
        adapt, parametrize_all, normalise, prune_all, swap_tensors, to_empty, on_the_meta_device,
        patch_forwards,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*lazy.*:UserWarning")
def test_a_change_of_the_layers(change: Callable[[Model], None]) -> None:
    results = []
    for model in twins():
        torch.manual_seed(1)
        change(model)
        results.append(losses(model))
    assert_close(results[1], results[0])


@contextmanager
def recorded(model: Model, told: list[str]) -> Generator[None, None, None]:
    """Hooks of every kind on every module, and on all modules."""
    names = {module: name for name, module in model.named_modules()}

    def hook(kind: str) -> Callable[..., None]:
        return lambda module, *_: told.append(f"{kind} {names[module]}") if module in names else None

    handles = [
        modules.register_module_forward_pre_hook(hook("global pre")),
        modules.register_module_forward_hook(hook("global forward")),
        modules.register_module_full_backward_hook(hook("global backward")),
    ]
    for module in model.modules():
        handles += [
            module.register_forward_pre_hook(hook("pre")),
            module.register_forward_hook(hook("forward")),
            module.register_full_backward_pre_hook(hook("backward pre")),
            module.register_full_backward_hook(hook("backward")),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_hooks_of_every_kind_are_called_as_often() -> None:
    results = []
    for model in twins():
        told: list[str] = []
        with recorded(model, told):
            trained = losses(model, batches(2))
        results.append((sorted(told), trained))
    assert results[1][0] == results[0][0]
    assert_close(results[1][1], results[0][1])


def test_hooks_that_change_what_passes() -> None:
    results = []
    for model in twins():
        model.encoder.register_forward_hook(lambda _, __, result: (result[0] * 2, result[1]))
        model.cell.register_forward_pre_hook(lambda _, args: (args[0] + 1, *args[1:]))
        model.block.self_attn.register_full_backward_hook(lambda _, grads, __: (grads[0] * 0.5, *grads[1:]))
        results.append(losses(model))
    assert_close(results[1], results[0])


def test_parameters_by_name() -> None:
    gradients = []
    for model in twins():
        parameters = {name: (p.detach() * 0.5).requires_grad_() for name, p in model.named_parameters()}
        tokens, classes = batches(1)[0]
        loss = nn.functional.cross_entropy(functional_call(model, parameters, (tokens,)), classes)
        gradients.append(torch.autograd.grad(loss, list(parameters.values())))
    assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing(use_reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self, model: Model) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Tensor) -> Tensor:
            model = self.model
            states = model.vectors(tokens)
            for layer in (lambda x: model.encoder(x)[0], model.block):
                states = checkpoint(layer, states, use_reentrant=use_reentrant)
            return model.scores(checkpoint(model.cell, states[:, -1], use_reentrant=use_reentrant))

    theirs, ours = twins()
    assert_close(losses(Checkpointed(ours)), losses(Checkpointed(theirs)))


def test_averaged_models() -> None:
    averages = []
    for model in twins():
        averaged = AveragedModel(model)
        for batch in batches(3):
            losses(model, [batch])
            averaged.update_parameters(model)
        averages.append(loss_of(averaged, batches(1)[0]))
    assert_close(averages[1], averages[0])


def test_replicas() -> None:
    """What DataParallel makes of a module for each device."""
    results = []
    for model in twins():
        replica: Any = copy.copy(model)
        replica._modules = {}
        for name, child in model.named_children():
            copied = child._replicate_for_data_parallel()
            for label, parameter in child.named_parameters(recurse=False):
                setattr(copied, label, parameter.detach())
            replica._modules[name] = copied
        results.append(replica.encoder(replica.vectors(batches(1)[0][0]))[0])
    assert_close(results[1], results[0])


def test_double_precision_and_back() -> None:
    results = []
    for model in twins():
        model.double()
        first = losses(model, batches(2))
        model.bfloat16()
        model.float()
        results.append((first, losses(model, batches(2, seed=2))))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-3)
