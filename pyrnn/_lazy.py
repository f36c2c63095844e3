"""Packages whose names are imported when they are first used: the command line lists its help without torch.

PEP 562 gives a module a `__getattr__`. The imports under `TYPE_CHECKING` beside the call tell type checkers
the same names; `tests/test_structure.py` compares the two.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, names: Mapping[str, Sequence[str]], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a package.

    Args:
        package: its name.
        names: what each of its modules offers, by the module's name in the package.
        modules: modules of the package that are offered themselves.

    Example:
        >>> get, names = lazy_names("pyrnn.train", {"schedule": ["Schedule"]})
        >>> get("Schedule").__name__, names()
        ('Schedule', ['Schedule'])
    """
    homes = {name: module for module, offered in names.items() for name in offered}

    def get(name: str) -> Any:
        if name in homes:
            found = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        elif name in modules:
            found = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, found)  # the next time Python finds it by itself
        return found

    return get, lambda: sorted((*homes, *modules))
