"""Stories and questions: what a line is, what is refused, and how they are split."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pyrnn.corpora import STORY_KINDS, StoryKind, stories
from pyrnn.text import StoryReader, read_questions, read_stories, split_questions, story_lines


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_numbers_and_empty_lines_begin_stories(tmp_path: Path) -> None:
    text = "1 A ran.\n2 B sat.\n3 Who ran?\tA\t1\n4 C hid.\n5 Who hid?\tC\t4\n"
    text += "1 D lay.\n2 Who lay?\tD\n\nE dug.\nWho?\tE\t1\n"
    found = list(read_questions(write(tmp_path / "acts.txt", text)))
    assert [(each.story, each.answer, each.support) for each in found] == [
        (("A ran.", "B sat."), "A", (0,)),
        (("A ran.", "B sat.", "C hid."), "C", (2,)),
        (("D lay.",), "D", ()),
        (("E dug.",), "E", (0,)),
    ]
    assert {each.kind for each in found} == {"acts"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("A ran.\nB sat.\n", "has no questions"),
        ("Who ran?\tA\n", "line 1: a question without a story"),
        ("A ran.\n\nWho ran?\tA\n", "line 3: a question without a story"),
        ("A ran.\nWho ran?\n", "line 2: the question has no answer"),
        ("A ran.\nWho ran?\t\n", "line 2: the answer is empty"),
        ("1 A ran.\n2 Who ran?\tA\t2\n", "line 2: the answer is said to follow from line '2'"),
        ("A ran.\nWho ran?\tA\t1\tx\n", "line 2: expected a question, a tab and its answer"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem):
        list(read_questions(write(tmp_path / "a.txt", text)))


def test_a_line_that_is_refused_spoils_no_other() -> None:
    reader = StoryReader("here")
    with pytest.raises(ValueError, match="here, line 1"):
        reader.take("Who?", 1)
    assert reader.take("A ran.", 2) is None
    found = reader.take("Who ran?", 3)
    assert found is not None
    assert found.story == ("A ran.",)


@pytest.mark.parametrize("kind", STORY_KINDS)
def test_made_stories_read_back_and_splits_are_apart(kind: StoryKind, tmp_path: Path) -> None:
    made = list(stories(kind, 60, seed=3))
    assert [each[:4] for each in made] == [each[:4] for each in stories(kind, 60, seed=3)]
    file = write(
        tmp_path / f"{kind}.txt", "".join(f"{line}\n" for each in made for line in story_lines(each))
    )
    assert [each[:5] for each in read_questions(file)] == [each[:5] for each in made]
    assert [each.answer for each in read_stories(file)] == [each.answer for each in made]
    test = {each[:2] for each in stories(kind, 60, split="test", seed=3)}
    assert not test & {each[:2] for each in stories(kind, 600, seed=4)}
    for each in made:  # the facts that are named hold the answer and what is asked of
        facts = " ".join(each.story[place] for place in each.support)
        assert each.answer in facts
        assert any(word.strip("?") in facts for word in each.question.split()[-2:])


def test_a_place_lies_one_way_of_one_other() -> None:
    opposite = {"north": "south", "south": "north", "east": "west", "west": "east"}
    for each in stories("relations", 200):
        facts = set()
        for sentence in each.story:
            _, a, _, way, _, _, b = sentence.rstrip(".").split()
            facts |= {(a, way, b), (b, opposite[way], a)}
        words = each.question.rstrip("?").split()
        if words[-1] == "of":
            answers = {b for a, way, b in facts if (a, way) == (words[3], words[4])}
        else:
            answers = {a for a, way, b in facts if (way, b) == (words[2], words[5])}
        assert answers == {each.answer}


def test_questions_of_a_story_stay_together_whatever_the_order(tmp_path: Path) -> None:
    text = "".join(f"1 It is {n}.\n2 What?\t{n}\t1\n3 Now {n}.\n4 And now?\t{n}\n" for n in range(20))
    found = list(read_questions(write(tmp_path / "a.txt", text)))
    training, held_out = split_questions(found, 0.2)
    assert (len(training), len(held_out)) == (32, 8)
    assert not {each.answer for each in training} & {each.answer for each in held_out}
    pairs = [found[n : n + 2] for n in range(0, 40, 2)]
    random.Random(0).shuffle(pairs)
    assert {each[:2] for each in split_questions([q for pair in pairs for q in pair], 0.2)[1]} == {
        each[:2] for each in held_out
    }
