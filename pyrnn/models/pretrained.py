"""Models as folders: config.json and model.safetensors, in the shape that hub users know."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import Tensor, nn
from typing_extensions import Self

from pyrnn._configuration import from_mapping
from pyrnn._files import atomic_write, read_json, to_json, write_text
from pyrnn._tensors import loadable, not_finite, open_tensors
from pyrnn.models.configs import CONFIG

WEIGHTS = "model.safetensors"

Model = TypeVar("Model", bound=nn.Module)


class Pretrained(nn.Module, ABC):
    """A model that is written to and read from a folder. Nothing is pickled.

    A subclass names its `model_type` and the dataclass `config_class` of its sizes, keeps an instance of it
    as `config`, and is constructed from it.

    Example:
        >>> import tempfile
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(11, hidden_size=8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     read = LanguageModel.from_pretrained(folder)
        >>> torch.equal(read.projection.weight, model.projection.weight)
        True
    """

    model_type: ClassVar[str]
    config_class: ClassVar[type]
    config: Any

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into `folder`, made where it is missing.

        Raises:
            OSError: the folder cannot be made or written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, self.model_type, self.config)
        write_weights(folder, self)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> Self:
        """The model of `folder`, in evaluation mode, on the CPU.

        Args:
            folder: what `save_pretrained` or a training run wrote.
            options: further arguments of the constructor.

        Raises:
            FileNotFoundError: the folder or one of its files is missing.
            ValueError: a file is damaged, is of another kind of model, or the weights do not fit the sizes,
                are no floating numbers (16, 32 or 64 bits are converted), or hold NaN or infinity.
        """
        folder = Path(folder)
        config = from_mapping(
            cls.config_class, read_config(folder, cls.model_type)["model"], where=str(folder / CONFIG)
        )
        try:
            expected = outline(lambda: cls(config, **options))
        except ValueError as error:
            raise ValueError(f"{folder / CONFIG}: {error}") from error
        tensors = _read_weights(folder, expected, owner=CONFIG)
        model = cls(config, **options)
        _take(model, tensors, folder)
        return model.eval()


def load_weights(model: nn.Module, folder: Path) -> None:
    """Give `model` the weights of a folder of a model with the same tensors.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they do not fit the model, are damaged, or hold NaN or infinity.
    """
    _take(model, _read_weights(folder, model, owner="the model"), folder)


def _read_weights(folder: Path, model: nn.Module, *, owner: str) -> dict[str, Tensor]:
    """The tensors of a folder, after they were compared with those of `model`."""
    with open_tensors(folder / WEIGHTS) as file:
        # Before memory is taken for sizes that a damaged file may have invented.
        file.check({name: loadable(tensor) for name, tensor in _kept(model).items()}, owner=owner)
        return file.read()


def _take(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    model.load_state_dict({name: tensors[kept] for name, kept in _kept_names(model).items()})
    if name := not_finite(dict(model.named_parameters())):  # a buffer may hold anything
        raise ValueError(
            f"{folder / WEIGHTS}: {name} holds NaN or infinity: the file is damaged, or its training diverged"
        )


def outline(build: Callable[[], Model]) -> Model:
    """The model that `build` makes, without memory: its tensors have shapes and dtypes alone.

    Raises:
        ValueError: as of `build`, or there can be no such tensors.
    """
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, TypeError) as error:  # sizes whose product no integer holds
        told = str(error).partition("\n")[0]  # torch may add a listing of its own code
        raise ValueError(f"these are sizes that no model can have: {told}") from error


def _kept_names(model: nn.Module) -> dict[str, str]:
    """For each parameter and persistent buffer the name under which a file keeps it.

    A tensor with several names is kept once, as safetensors does: under the first of them in the alphabet.
    """
    tensors = model.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    for name in sorted(tensors):
        first.setdefault(id(tensors[name]), name)
    return {name: first[id(tensor)] for name, tensor in tensors.items()}


def _kept(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's file."""
    tensors = model.state_dict(keep_vars=True)
    return {name: tensors[name] for name in _kept_names(model).values()}


def write_config(
    folder: Path, model_type: str, config: Any, further: Mapping[str, Any] | None = None
) -> None:
    """Write config.json: kind, sizes, and `further` tables of whoever trained the model."""
    tables = {"model_type": model_type, "model": asdict(config), **(further or {})}
    write_text(folder / CONFIG, to_json(tables, indent=2) + "\n")


def read_config(folder: Path, model_type: str) -> dict[str, Any]:
    """What `write_config` wrote.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: the file is damaged or describes another kind of model.
    """
    path = folder / CONFIG
    config = read_json(path)
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError(f"{path} does not describe a model: it has no table 'model'")
    if config.get("model_type") != model_type:
        raise ValueError(f"{path} describes a {config.get('model_type')!r}, expected {model_type!r}")
    return config


def write_weights(folder: Path, model: nn.Module) -> None:
    """Write model.safetensors; a tensor that two parameters share is kept once.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the file before it stays.
    """
    with atomic_write(folder / WEIGHTS) as path:
        try:
            save_model(model, str(path))
        except SafetensorError as error:
            raise OSError(f"{folder / WEIGHTS} could not be written: {error}") from error
