"""From text to ids: files, tokenizers, vocabularies."""

from pyrnn.text.columns import TaggedSentence, read_columns, read_lines, read_sentences
from pyrnn.text.files import Source, read_text, source_name, spool, text_files
from pyrnn.text.imported import HuggingFaceTokenizer, SentencePieceTokenizer, read_tokenizer
from pyrnn.text.labelled import (
    LabelledFeatures,
    LabelledText,
    as_features,
    read_labelled_features,
    read_labelled_texts,
    split_labelled,
)
from pyrnn.text.lines import Line, LineReader, as_lines, gathered, numbered_lines
from pyrnn.text.pairs import (
    PairSplit,
    PlacedPair,
    SentencePair,
    read_pairs,
    read_placed_pairs,
    split_pairs,
)
from pyrnn.text.stories import (
    StoryQuestion,
    StoryReader,
    is_held_out,
    read_questions,
    read_stories,
    split_questions,
    story_lines,
)
from pyrnn.text.subword import SubwordTokenizer
from pyrnn.text.tables import TABLE_FORMATS, TableFormat, as_column, table_format
from pyrnn.text.tokenizer import LEVELS, Level, Tokenizer, VocabularyTokenizer, read_words, train_tokenizer
from pyrnn.text.vocabulary import Vocabulary

__all__ = [
    "Source",
    "read_text",
    "source_name",
    "spool",
    "text_files",
    "Line",
    "LineReader",
    "as_lines",
    "gathered",
    "numbered_lines",
    "TaggedSentence",
    "read_columns",
    "read_lines",
    "read_sentences",
    "TABLE_FORMATS",
    "TableFormat",
    "as_column",
    "table_format",
    "LabelledFeatures",
    "LabelledText",
    "as_features",
    "read_labelled_features",
    "read_labelled_texts",
    "split_labelled",
    "PairSplit",
    "PlacedPair",
    "SentencePair",
    "read_pairs",
    "read_placed_pairs",
    "split_pairs",
    "StoryQuestion",
    "StoryReader",
    "is_held_out",
    "read_questions",
    "read_stories",
    "split_questions",
    "story_lines",
    "Vocabulary",
    "LEVELS",
    "Level",
    "Tokenizer",
    "VocabularyTokenizer",
    "SubwordTokenizer",
    "HuggingFaceTokenizer",
    "SentencePieceTokenizer",
    "read_tokenizer",
    "read_words",
    "train_tokenizer",
]
