"""What can be trained: one file for each family, and the list of them."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.tasks.answering import Answer as Answer
    from pyrnn.tasks.answering import answer_questions as answer_questions
    from pyrnn.tasks.classifying import ClassProbability as ClassProbability
    from pyrnn.tasks.classifying import Judged as Judged
    from pyrnn.tasks.classifying import classify_features as classify_features
    from pyrnn.tasks.classifying import classify_texts as classify_texts
    from pyrnn.tasks.classifying import judge as judge
    from pyrnn.tasks.conditional import draw_texts as draw_texts
    from pyrnn.tasks.conditional import search_texts as search_texts
    from pyrnn.tasks.pairs import pairs_of as pairs_of
    from pyrnn.tasks.pairs import placed_pairs_of as placed_pairs_of
    from pyrnn.tasks.registry import TASKS as TASKS
    from pyrnn.tasks.registry import find_task as find_task
    from pyrnn.tasks.runs import evaluate as evaluate
    from pyrnn.tasks.runs import load_run as load_run
    from pyrnn.tasks.runs import make_job as make_job
    from pyrnn.tasks.runs import open_word_vectors as open_word_vectors
    from pyrnn.tasks.runs import verb_of as verb_of
    from pyrnn.tasks.search_analysis import WidthAnalysis as WidthAnalysis
    from pyrnn.tasks.search_analysis import analyze_search as analyze_search
    from pyrnn.tasks.translating import TranslateConfig as TranslateConfig
    from pyrnn.tasks.translating import Translated as Translated
    from pyrnn.tasks.translating import Untranslated as Untranslated
    from pyrnn.tasks.translating import attention_of as attention_of
    from pyrnn.tasks.translating import translate as translate
    from pyrnn.tasks.translating import try_translate as try_translate

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "answering": ["Answer", "answer_questions"],
        "classifying": ["ClassProbability", "Judged", "classify_features", "classify_texts", "judge"],
        "conditional": ["draw_texts", "search_texts"],
        "registry": ["TASKS", "find_task"],
        "pairs": ["pairs_of", "placed_pairs_of"],
        "search_analysis": ["WidthAnalysis", "analyze_search"],
        "translating": [
            "TranslateConfig",
            "Translated",
            "Untranslated",
            "attention_of",
            "translate",
            "try_translate",
        ],
        "runs": ["evaluate", "load_run", "make_job", "open_word_vectors", "verb_of"],
    },
)
