"""Tokenizers of other libraries: text comes back, files are told apart, damage is named."""

from __future__ import annotations

import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn._files import to_json
from pyrnn.corpora import shakespeare
from pyrnn.text import (
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    read_tokenizer,
    train_tokenizer,
)

LINES = [line for line in shakespeare().split("\n") if line][:2000]
WORDS = sorted({word for line in LINES for word in line.split()})
TEXT = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=4).map("\n".join)


def _byte_level() -> dict[str, Any]:
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(LINES, trainer)
    library.enable_truncation(5)  # as files often have, for a model of theirs
    library.enable_padding(length=9, pad_token="<|endoftext|>")
    library.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    return json.loads(library.to_str())


def _unigram() -> dict[str, Any]:
    library = tokenizers.Tokenizer(tokenizers.models.Unigram())
    library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    library.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    library.train_from_iterator(LINES, trainer)
    return json.loads(library.to_str())


def _sentence_piece(**options: Any) -> bytes:
    model = io.BytesIO()
    options = {"vocab_size": 600, "character_coverage": 1.0, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(LINES), model_writer=model, **options)
    return model.getvalue()


BYTE_LEVEL, MODEL = _byte_level(), _sentence_piece()
IMPORTED = [HuggingFaceTokenizer(BYTE_LEVEL), HuggingFaceTokenizer(_unigram()), SentencePieceTokenizer(MODEL)]
EACH = pytest.mark.parametrize("tokenizer", IMPORTED, ids=["byte-level", "unigram", "sentencepiece"])


@EACH
@given(text=TEXT, cuts=st.lists(st.integers(1, 30)))
def test_lines_come_back_wherever_they_are_cut(tokenizer: Tokenizer, text: str, cuts: list[int]) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert int((ids == tokenizer.eos_id).sum()) == text.count("\n")
    assert not len(ids) or 0 <= int(ids.min()) <= int(ids.max()) < len(tokenizer)
    places = [0, *sorted(cut for cut in set(cuts) if cut < len(text)), len(text)]
    chunks = [text[a:b] for a, b in itertools.pairwise(places)]
    assert torch.equal(torch.cat([ids[:0], *tokenizer.encode_chunks(chunks)]), ids)


@EACH
@given(data=st.data())
def test_any_ids_are_decoded(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    assert tokenizer.decode(ids).count("\n") >= ids.count(tokenizer.eos_id or 0)
    assert all(isinstance(tokenizer.token(id), str) for id in ids)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_bytes_are_without_loss(text: str) -> None:
    assert IMPORTED[0].decode(IMPORTED[0].encode(text)) == text


@EACH
def test_a_run_keeps_a_copy(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    for loaded in (Tokenizer.load(tmp_path / "tokenizer.json"), read_tokenizer(tmp_path / "tokenizer.json")):
        assert loaded == tokenizer
        assert hash(loaded) == hash(tokenizer)
        assert loaded.encode(LINES[0]).tolist() == tokenizer.encode(LINES[0]).tolist()
    assert len(set(IMPORTED)) == 3
    assert tokenizer != train_tokenizer(lambda: ["to be"], level="character")


def test_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(to_json(BYTE_LEVEL))
    (tmp_path / "a.model").write_bytes(MODEL)
    assert read_tokenizer(tmp_path / "tokenizer.json") == IMPORTED[0]
    assert read_tokenizer(tmp_path / "a.model") == IMPORTED[2]


@EACH
def test_text_that_spells_the_end_is_not_the_end(tokenizer: Tokenizer) -> None:
    spelled = tokenizer.token(tokenizer.eos_id or 0)
    assert tokenizer.eos_id not in tokenizer.encode(f"so {spelled} be").tolist()


def test_what_a_vocabulary_lacks_is_unknown() -> None:
    assert IMPORTED[0].unk_id is None
    for tokenizer in IMPORTED[1:]:
        assert tokenizer.unk_id in tokenizer.encode("猫").tolist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected a tokenizer as JSON or a SentencePiece model"),
        (b"rubbish, and more of it", "expected a tokenizer as JSON or a SentencePiece model"),
        (b"{", "Expecting property name"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"version": "1.0"}', "the tokenizers library refuses it"),
        (b'{"model": 3}', "the tokenizers library refuses it"),
        (b'{"level": "subword", "library": "other", "model": ""}', "library must be tokenizers or"),
        (b'{"level": "subword", "library": "sentencepiece", "model": "?"}', "base64"),
        (b'{"level": "subword", "library": "sentencepiece"}', "is described by level, library, model"),
        (b'{"level": "subword", "library": "tokenizers", "eos": 1, "model": {}}', "eos must be a string"),
        (b'{"level": "subword", "library": "tokenizers", "eos": "", "model": {}}', "library refuses it"),
    ],
)
def test_what_is_no_tokenizer_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=words) as refused:
        read_tokenizer(tmp_path / "a")
    assert str(tmp_path / "a") in str(refused.value)


def test_a_line_needs_an_end(tmp_path: Path) -> None:
    values = {**BYTE_LEVEL, "added_tokens": []}
    with pytest.raises(ValueError, match=r"a usual name \(</s>, .*its own are none: name one with eos"):
        HuggingFaceTokenizer(values)
    with pytest.raises(ValueError, match="no token '<none>' ends a line"):
        HuggingFaceTokenizer(values, eos="<none>")
    (tmp_path / "a").write_text(to_json(values))
    named = read_tokenizer(tmp_path / "a", eos="!")
    assert named.token(named.eos_id or 0) == "!"
    with pytest.raises(ValueError, match="no token that ends a sentence: train it with eos_id"):
        SentencePieceTokenizer(_sentence_piece(eos_id=-1))


@EACH
def test_ids_outside_are_refused(tokenizer: Tokenizer) -> None:
    for id in (-1, len(tokenizer)):
        with pytest.raises(ValueError, match="ids must lie in"):
            tokenizer.decode([id])
        with pytest.raises(ValueError, match="ids must lie in"):
            tokenizer.token(id)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    for values in (tokenizer.to_json() for tokenizer in IMPORTED):
        with pytest.raises(ImportError, match=r"pip install pyrnn\[text\]"):
            Tokenizer.from_json(values)
