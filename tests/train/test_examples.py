import itertools
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrnn.corpora import bible, shakespeare

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    """The `main` of a script."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_the_character_model_learns_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text.txt"
    file.write_text(shakespeare()[:6_000], encoding="utf-8")
    passage = example("character_model")(str(file), str(tmp_path / "run"), "HAMLET:\n", epochs=1)
    assert passage.startswith("HAMLET:\n")
    assert len(passage) == 8 + 300
    assert "validation_loss" in capsys.readouterr().out


def names_of(folder: Path) -> Path:
    """Names of a nation have its own letters, of two lengths."""
    rows = [
        f"{a}{b}{a}{c}\t{nation}\n"
        for nation, letters in (("North", "abcdef"), ("South", "uvwxyz"), ("South", "UVWXYZ"))
        for a, b, c in itertools.product(letters, letters, ["", letters[0]])
    ]
    file = folder / "names.tsv"
    file.write_text("".join(rows), encoding="utf-8")
    return file


def test_names_are_classified(tmp_path: Path) -> None:
    main = example("classify_names")
    accuracy, baseline = main(str(names_of(tmp_path)), epochs=4, hidden_size=16)
    assert accuracy >= 0.95
    assert 0.5 < baseline < 0.8


def test_names_are_invented(tmp_path: Path) -> None:
    folders = str(tmp_path / "names"), str(tmp_path / "nations")
    found = example("generate_names")(str(names_of(tmp_path)), *folders, epochs=40, hidden_size=48)
    assert found.perplexity < 8  # by chance 19
    assert found.shuffled > 2 * found.perplexity
    assert min(found.real, found.passed) > 0.8
    drawn = found.drawn
    own = {"North": "abcdef", "South": "uvwxyzUVWXYZ"}
    assert {nation: len(names) for nation, names in drawn.items()} == dict.fromkeys(own, 10)
    right = [set(name) <= set(own[nation]) for nation, names in drawn.items() for name in names]
    assert sum(right) >= 17  # all the same, the letters of both would be drawn
    assert len(set(drawn["South"])) > 3


def test_questions_are_answered_by_both_readers(tmp_path: Path) -> None:
    scores = example("answer_questions")(str(tmp_path), count=120, epochs=1)
    assert scores.keys() == {"last", "question"}
    assert all(own["examples"] == 60 and 0 <= own["accuracy_table"] <= 1 for own in scores.values())


def test_the_file_of_names_is_sorted_and_has_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = example("write_names")
    monkeypatch.setitem(main.__globals__, "surnames", lambda locale: ["Zeta", locale, "Zeta"])
    main(str(tmp_path / "names.tsv"))
    rows = [line.split("\t") for line in (tmp_path / "names.tsv").read_text().splitlines()]
    assert rows == sorted(rows)
    assert ["de_DE", "German"] in rows
    assert len(rows) == 20
    assert "20 names" in capsys.readouterr().out


def test_the_brown_corpus_is_tagged(tmp_path: Path) -> None:
    line = "\n\n\tThe/at-tl Old/np-hl Fulton/np jury/nn said/vbd it/pps ./.\n" * 6
    for number in range(1, 21):
        (tmp_path / f"c{'ar'[number % 2]}{number:02}").write_text(line)
    (tmp_path / "README").write_text("not a text of the corpus")
    settings = ("epochs=2", "hidden_size=8", "batch_size=4", 'characters="none"')
    scores = example("tag_brown")(str(tmp_path), str(tmp_path / "runs" / "brown"), *settings)
    assert scores["most frequent tag"] == (1.0, 1.0)
    assert scores["tagger"][0] > 0.9
    written = (tmp_path / "runs" / "brown-train.tsv").read_text()
    assert written.startswith("The\tat\nOld\tnp\n")


def test_pictures_are_captioned() -> None:
    right = example("caption_pictures")(steps=300, hidden_size=64, colours=1)
    assert right >= 0.75  # of new combinations; by chance one in 18


def test_analogies_are_asked_and_vectors_are_debiased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = example("word_analogies")
    monkeypatch.setitem(main.__globals__, "bible", lambda: bible()[:500])
    vectors, debiased = str(tmp_path / "vectors"), str(tmp_path / "debiased")
    answers = main(vectors, epochs=2, vector_size=20)
    assert {len(found) for found in answers.values()} == {3}
    assert "he : she = his : " in capsys.readouterr().out
    assert main(vectors) == answers  # it is not trained again
    before, after = example("debias_vectors")(vectors, debiased)
    assert after.direct_bias < 1e-6 < before.direct_bias
    assert "% of neighbours are of the same side" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["write_names", "classify_names", "generate_names"])
def test_examples_about_names_say_what_they_take(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {name}.py")


def test_reviews_are_classified_with_and_without_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {2.0: ["fine", "warm", "lovely"], -1.5: ["dull", "flat", "dreary"]}
    rows = [
        f"{n}\t{rating}\t{noun} number {n} is {words[rating][n % 3]}\n"
        for n, (noun, rating) in enumerate(itertools.product(["film", "plot"] * 40, words))
    ]
    unclear = "999\t0.4\tfilm is so-so\n"
    (tmp_path / "ratings.txt").write_text("".join([*rows, unclear]))
    (tmp_path / "brown").mkdir()
    (tmp_path / "brown" / "ca01").write_text("\n\n\tThe/at film/nn is/bez lovely/jj ./.\n")
    found = example("classify_reviews")(
        str(tmp_path / "ratings.txt"),
        str(tmp_path / "out"),
        brown=str(tmp_path / "brown"),
        models=["average"],
        counts=[60],
        draws=2,
        vector_settings={"epochs": 1},
        hidden_size=8,
        epochs=6,
        warmup_steps=2,
    )
    assert {key: len(scores) for key, scores in found.items()} == {
        ("average", 60, known): 2 for known in (False, True)
    }
    assert min(found["average", 60, False]) > 0.9
    assert (tmp_path / "out" / "brown.txt").read_text() == "The film is lovely .\n"
    assert "so-so" not in (tmp_path / "out" / "unlabelled.txt").read_text()
    assert "| average | 60 | 2 |" in capsys.readouterr().out


def test_a_chorale_is_written_with_nothing_but_legal_events(tmp_path: Path) -> None:
    script = runpy.run_path(str(EXAMPLES / "write_chorale.py"))
    chords = [(72, 67, 64, 48), (71, 67, 62, 55), (72, 69, 65, 53), (72, 67, 64, 48)]
    voices = [[(float(n), 1.0, chord[voice]) for n, chord in enumerate(chords)] for voice in range(4)]
    voices[0][1:2] = [(1.0, 0.75, 71), (1.75, 0.25, 74)]
    grid = script["to_grid"](voices, 4.0)
    assert script["to_events"](script["to_text"](grid)) == grid
    assert [note[1:] for note in script["notes_of"](grid)][:3] == [(0, 4, 72), (4, 3, 71), (7, 1, 74)]
    assert script["to_grid"]([[(0.0, 1 / 3, 60)], [], [], []], 1.0) is None, "no triplet fits the grid"
    assert script["to_grid"]([[(0.0, 1.0, 20)], [], [], []], 1.0) is None, "out of the soprano's range"
    keys = list(script["transposed"](grid))
    assert len(keys) == 12
    assert sum(key == grid for key in keys) == 1
    found = script["main"](
        keys, tmp_path, keys=False, epochs=2, hidden_size=16, num_layers=1, batch_size=2, bptt_steps=17
    )
    assert 0 < found["model"] < 10
    drawn = script["to_events"]((tmp_path / "chorale.txt").read_text())
    assert len(drawn) == 4 * found["quarters"] > 0
    for n in range(len(drawn)):
        sounding = script["sounding_pitches"](drawn[: n + 1])
        for voice, (low, high) in enumerate(script["RANGES"]):
            pitch, above = sounding[voice], sounding[voice - 1] if voice else None
            assert pitch is None or low <= pitch <= min(high, high if above is None else above)
    midi = (tmp_path / "chorale.mid").read_bytes()
    assert midi[:14] == b"MThd\0\0\0\6\0\1\0\5\0\4"
    assert (midi.count(b"MTrk"), midi.count(b"\xff\x2f\0")) == (5, 5)


def test_midi_is_what_the_standard_says(tmp_path: Path) -> None:
    script = runpy.run_path(str(EXAMPLES / "write_chorale.py"))
    grid = [("60", "r", "r", "r"), ("__", "r", "r", "r"), ("62", "r", "r", "r"), ("r", "r", "r", "r")]
    script["write_midi"](grid, tmp_path / "a.mid", quarters_a_minute=120)
    end = bytes.fromhex("00ff2f00")
    tempo = bytes.fromhex("00ff510307a120") + end
    soprano = bytes.fromhex("00903c4002803c4000903e4001803e40") + end
    tracks = [tempo, soprano, end, end, end]
    expected = b"MThd" + bytes.fromhex("00000006000100050004")
    for track in tracks:
        expected += b"MTrk" + len(track).to_bytes(4, "big") + track
    assert (tmp_path / "a.mid").read_bytes() == expected
    assert script["variable_length"](0x3FFF) == b"\xff\x7f"
    assert script["variable_length"](128) == b"\x81\x00"


def test_parallel_fifths_and_octaves_are_counted() -> None:
    script = runpy.run_path(str(EXAMPLES / "write_chorale.py"))

    def held(*chords: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [step for chord in chords for step in (chord, *[("__",) * 4] * 3)]

    fifths = held(("67", "60", "r", "r"), ("69", "62", "r", "r"))
    contrary = held(("67", "60", "r", "r"), ("60", "53", "r", "r"), ("60", "53", "r", "r"))
    assert script["parallels"](fifths) == 50
    assert script["parallels"](contrary) == pytest.approx(100 / 3)
    assert script["parallels"](held(("67", "60", "r", "r"), ("65", "62", "r", "r"))) == 0
