"""Models as folders: config.json and model.safetensors, in the shape that hub users know."""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn
from typing_extensions import Self

from pyrnn._configuration import from_mapping
from pyrnn._files import read_json, replacing, write_text

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Pretrained(nn.Module, ABC):
    """A model that is written to and read from a folder. Nothing is pickled.

    A subclass names its `model_type` and the dataclass `config_class` of its sizes, keeps an instance of it
    as `config`, and is constructed from it.
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
            ValueError: a file is damaged, is of another kind of model, or the weights do not fit the sizes.
        """
        folder = Path(folder)
        config = from_mapping(
            cls.config_class, read_config(folder, cls.model_type)["model"], where=str(folder / CONFIG)
        )
        path = folder / WEIGHTS
        try:
            with torch.device("meta"):
                shapes = {name: list(p.shape) for name, p in cls(config, **options).named_parameters()}
        except (RuntimeError, TypeError) as error:  # sizes whose product no integer holds
            raise ValueError(f"{folder / CONFIG} has sizes that no model can have: {error}") from error
        check_shapes(path, shapes)  # before memory is taken for sizes that a damaged file may have invented
        model = cls(config, **options)
        load_model(model, path)
        return model.eval()


def write_config(
    folder: Path, model_type: str, config: Any, further: Mapping[str, Any] | None = None
) -> None:
    """Write config.json: kind, sizes, and `further` tables of whoever trained the model."""
    tables = {"model_type": model_type, "model": asdict(config), **(further or {})}
    write_text(folder / CONFIG, json.dumps(tables, indent=2, ensure_ascii=False) + "\n")


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
    with replacing(folder / WEIGHTS) as path:
        try:
            save_model(model, str(path))
        except SafetensorError as error:
            raise OSError(f"{folder / WEIGHTS} could not be written: {error}") from error


def check_shapes(path: Path, expected: dict[str, list[int]]) -> None:
    """Compare the tensors of a safetensors file with names and shapes, reading its header alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or its tensors are not the expected ones.
    """
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{path} does not fit {CONFIG}: {name} should be {_shape(expected, name)}, "
                f"is {_shape(found, name)}"
            )


def _shape(shapes: dict[str, list[int]], name: str) -> str:
    return str(shapes[name]) if name in shapes else "absent"
