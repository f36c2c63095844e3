"""The tasks there are, and where each is. Neither this list nor a task's module imports torch."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrnn.train.task import Task


#: "package.module:Class" of each task by its name.
TASKS: dict[str, str] = {
    "language-model": "pyrnn.tasks.language_model:LanguageModeling",
    "conditional-language-model": "pyrnn.tasks.conditional:ConditionalLanguageModeling",
    "translation": "pyrnn.tasks.translation:Translation",
    "tagger": "pyrnn.tasks.tagger:Tagging",
    "classifier": "pyrnn.tasks.classifier:Classification",
    "questions": "pyrnn.tasks.questions:QuestionAnswering",
    "word-vectors": "pyrnn.tasks.word_vectors:WordVectorTraining",
}


@cache
def find_task(name: str) -> Task:
    """The task of this name; there is one object of each.

    Raises:
        ValueError: there is none; the message lists those there are.

    Example:
        >>> find_task("language-model").objective.metric
        'loss'
    """
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()
