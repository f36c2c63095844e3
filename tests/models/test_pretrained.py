"""Model folders: what was saved comes back, and weights of another kind do not come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.models.pretrained import Pretrained, outline


@dataclass(frozen=True)
class _Sizes:
    width: int = 4


class _Normed(Pretrained):
    """A weight with two names, the later one first in the alphabet, and buffers of each kind."""

    model_type = "test"
    config_class = _Sizes

    def __init__(self, config: _Sizes) -> None:
        super().__init__()
        self.config = config
        self.z = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.a = nn.Linear(config.width, config.width)
        self.a.weight = self.z.weight
        self.register_buffer("mask", torch.full((2,), -torch.inf))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return self.a(self.norm(self.z(rows)))


def test_buffers_and_shared_tensors_come_back(tmp_path: Path) -> None:
    model = _Normed(_Sizes())
    for _ in range(3):
        model(torch.randn(8, 4))
    model.save_pretrained(tmp_path)
    loaded = _Normed.from_pretrained(tmp_path)
    assert loaded.a.weight is loaded.z.weight
    assert loaded.norm.num_batches_tracked == 3
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    rows = torch.randn(8, 4)
    assert torch.equal(loaded(rows), model.eval()(rows))


def test_a_buffer_that_is_missing_is_named(tmp_path: Path) -> None:
    _Normed(_Sizes()).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["norm.running_mean"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"norm\.running_mean should be \[4\], is absent"):
        _Normed.from_pretrained(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = LanguageModelConfig(5, embedding_size=4, hidden_size=4, num_layers=1, tied=True)
    LanguageModel(config).save_pretrained(tmp_path)
    return tmp_path


def _rewrite(folder: Path, change: Callable[[Tensor], Tensor], name: str = "projection.bias") -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = change(tensors[name])
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_converted(dtype: torch.dtype, folder: Path) -> None:
    before = LanguageModel.from_pretrained(folder)
    for name in load_file(folder / "model.safetensors"):
        _rewrite(folder, lambda tensor: tensor.to(dtype), name)
    for name, parameter in LanguageModel.from_pretrained(folder).named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before.get_parameter(name).to(dtype).float())


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e5m2])
def test_weights_that_are_no_floating_numbers_are_refused(dtype: torch.dtype, folder: Path) -> None:
    _rewrite(folder, lambda tensor: tensor.abs().to(dtype))
    words = (
        r"model\.safetensors does not fit config\.json: projection\.bias should hold float16 or .*, holds "
    )
    with pytest.raises(ValueError, match=words):
        LanguageModel.from_pretrained(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300])
def test_weights_that_are_not_finite_are_refused(value: float, folder: Path) -> None:
    _rewrite(folder, lambda tensor: torch.full_like(tensor, value, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"model\.safetensors: projection\.bias holds NaN or infinity"):
        LanguageModel.from_pretrained(folder)


@pytest.mark.parametrize("size", [10**12, 2**63 - 1])
def test_sizes_that_no_model_can_have_are_refused_in_one_line(size: int) -> None:
    with pytest.raises(ValueError, match=r"\Athese are sizes that no model can have: .*\Z"):
        outline(lambda: LanguageModel(LanguageModelConfig(5, hidden_size=size)))
