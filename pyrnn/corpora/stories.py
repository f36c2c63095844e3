"""Stories and questions made in code: what a reader of stories can be tried on, kind by kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count as count_from
from typing import Literal, get_args

from pyrnn.text import StoryQuestion, is_held_out

StoryKind = Literal["one-fact", "two-facts", "relations", "deduction", "table"]
STORY_KINDS: tuple[StoryKind, ...] = get_args(StoryKind)
STORIES = "stories"

_TEST = "-test"
_MANY, _TESTED = 5_000, 500  # of each kind
_HELD_OUT = 0.1

#: The names of the stories made in code: all kinds, or one, to train on and to test with.
STORY_NAMES = tuple(name + end for name in (STORIES, *STORY_KINDS) for end in ("", _TEST))

_PEOPLE = ("Eva", "Igor", "Nora", "Pablo", "Ruth", "Tomas")
_ROOMS = ("attic", "cellar", "workshop", "library", "stable", "courtyard")
_ITEMS = ("lantern", "violin", "basket", "map")
_GOING = ("went to", "walked to", "ran to", "moved to")
_TAKING, _LEAVING = ("took", "picked up", "grabbed"), ("dropped", "put down", "left")
_OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
_ANIMALS = ("hen", "fox", "goose", "wolf", "lamb", "hare")
_HUNTERS = ("bears", "eagles", "snakes", "lynxes", "hounds")
_ATTRIBUTES = {
    "colour": ("red", "blue", "green", "yellow", "white"),
    "size": ("tiny", "small", "large", "huge"),
    "shape": ("round", "square", "flat", "pointed"),
}
_THINGS = ("stone", "kite", "boat", "bell", "tent", "coin")


def stories(
    kind: StoryKind, count: int, *, split: Literal["train", "test"] = "train", seed: int = 0
) -> Iterator[StoryQuestion]:
    """Questions of one kind, each with a story of its own and the sentences that its answer follows from.

    "one-fact": where somebody is, which one sentence tells; "two-facts": where a thing is, which follows from
    who took it and where they went; "relations": which of two places lies where of the other; "deduction":
    what an animal fears, by its kind; "table": the colour, size or shape of a thing in a table of facts.

    Args:
        kind: which kind.
        count: how many; chance may make a question twice.
        split: a question with its story belongs to one of the two, whatever the seed; a tenth to "test".
        seed: of the choice.

    Raises:
        ValueError: a negative count, or another kind or split.

    Source: tasks 1, 2, 4 and 15 as Weston et al. describe them, "Towards AI-complete question answering: a
    set of prerequisite toy tasks", 2015; with other sentences.

    Example:
        >>> (made,) = stories("deduction", 1, seed=2)
        >>> made.question, made.answer, [made.story[n] for n in made.support]
        ('What is Eva afraid of?', 'hounds', ['Eva is a hare.', 'Every hare is afraid of hounds.'])
    """
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    if kind not in STORY_KINDS:
        raise ValueError(f"kind must be one of {', '.join(STORY_KINDS)}, got {kind!r}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, got {split!r}")
    return _drawn(kind, count, split, seed)


def named_stories(name: str) -> list[StoryQuestion]:
    """Stories by the names of `STORY_NAMES`: 5,000 of a kind to train on, or 500 to test with.

    Raises:
        ValueError: another name.

    Example:
        >>> [len(named_stories(name)) for name in ("table-test", "stories-test")]
        [500, 2500]
    """
    if name not in STORY_NAMES:
        raise ValueError(f"stories made in code are {', '.join(STORY_NAMES)}, got {name!r}")
    split: Literal["train", "test"] = "test" if name.endswith(_TEST) else "train"
    kinds: list[StoryKind] = [kind for kind in STORY_KINDS if name.removesuffix(_TEST) in (kind, STORIES)]
    many = _TESTED if split == "test" else _MANY
    return [made for kind in kinds for made in stories(kind, many, split=split)]


def _drawn(kind: StoryKind, count: int, split: str, seed: int) -> Iterator[StoryQuestion]:
    draw, make = random.Random(f"{kind} {split} {seed}"), _MAKERS[kind]
    made = 0
    for number in count_from(1):
        if made == count:
            return
        question = make(draw)._replace(kind=kind, place=f"{kind} {number}")
        if is_held_out(question, _HELD_OUT) == (split == "test"):
            yield question
            made += 1


def _one_fact(draw: random.Random) -> StoryQuestion:
    story: list[str] = []
    where: dict[str, tuple[str, int]] = {}
    for place in range(draw.randint(2, 8)):
        who, room = draw.choice(_PEOPLE), draw.choice(_ROOMS)
        story.append(f"{who} {draw.choice(_GOING)} the {room}.")
        where[who] = room, place
    who = draw.choice(sorted(where))
    room, place = where[who]
    return StoryQuestion(tuple(story), f"Where is {who}?", room, (place,))


def _two_facts(draw: random.Random) -> StoryQuestion:
    """Random moves, until something has been taken to a place that is known."""
    while True:
        story: list[str] = []
        where: dict[str, tuple[str, int]] = {}  # of people
        held: dict[str, tuple[str, int]] = {}  # who has an item, and which sentence says so
        lying: dict[str, tuple[str, tuple[int, int]]] = {}
        for place in range(draw.randint(4, 9)):
            who, item = draw.choice(_PEOPLE[:4]), draw.choice(_ITEMS)
            owner = held[item][0] if item in held else None
            if owner is not None and owner in where and draw.random() < 0.3:
                story.append(f"{owner} {draw.choice(_LEAVING)} the {item}.")
                room, moved = where[owner]
                lying[item] = room, (held.pop(item)[1], moved)
            elif owner is None and who in where and draw.random() < 0.5:
                if item in lying and lying[item][0] != where[who][0]:
                    story.append(f"{who} {draw.choice(_GOING)} the {lying[item][0]}.")
                    where[who] = lying[item][0], place
                    continue
                story.append(f"{who} {draw.choice(_TAKING)} the {item}.")
                held[item] = who, place
                lying.pop(item, None)
            else:
                story.append(f"{who} {draw.choice(_GOING)} the {(room := draw.choice(_ROOMS))}.")
                where[who] = room, place
        known = {item: (where[who][0], (taken, where[who][1])) for item, (who, taken) in held.items()}
        known |= lying
        if known:
            item = draw.choice(sorted(known))
            room, support = known[item]
            return StoryQuestion(tuple(story), f"Where is the {item}?", room, support)


def _relations(draw: random.Random) -> StoryQuestion:
    first, middle, last = draw.sample(_ROOMS, 3)
    one = draw.choice([*_OPPOSITE])
    # Of opposite ways the place in the middle would lie the same way of both others.
    other = draw.choice([way for way in _OPPOSITE if way != _OPPOSITE[one]])
    facts = [(first, one, middle), (middle, other, last)]
    draw.shuffle(facts)
    story = tuple(f"The {a} is {way} of the {b}." for a, way, b in facts)
    support = draw.randrange(2)
    a, way, b = facts[support]
    if draw.random() < 0.5:
        return StoryQuestion(story, f"What is {way} of the {b}?", a, (support,))
    return StoryQuestion(story, f"What is the {a} {way} of?", b, (support,))


def _deduction(draw: random.Random) -> StoryQuestion:
    kinds, names = draw.sample(_ANIMALS, 4), draw.sample(_PEOPLE, 4)
    feared = {kind: draw.choice(_HUNTERS) for kind in kinds}
    of = dict(zip(names, draw.sample(kinds, 4), strict=True))
    story = [f"Every {kind} is afraid of {hunters}." for kind, hunters in feared.items()]
    story += [f"{name} is a {kind}." for name, kind in of.items()]
    draw.shuffle(story)
    name = draw.choice(names)
    fear = feared[of[name]]
    facts = f"{name} is a {of[name]}.", f"Every {of[name]} is afraid of {fear}."
    return StoryQuestion(
        tuple(story), f"What is {name} afraid of?", fear, (story.index(facts[0]), story.index(facts[1]))
    )


def _table(draw: random.Random) -> StoryQuestion:
    facts = [(thing, which) for thing in draw.sample(_THINGS, 3) for which in _ATTRIBUTES]
    chosen = draw.sample(facts, draw.randint(3, len(facts)))
    values = [draw.choice(_ATTRIBUTES[which]) for _, which in chosen]
    place = draw.randrange(len(chosen))
    thing, which = chosen[place]
    story = tuple(f"The {own} is {value}." for (own, _), value in zip(chosen, values, strict=True))
    return StoryQuestion(story, f"What {which} is the {thing}?", values[place], (place,))


_MAKERS: dict[StoryKind, Callable[[random.Random], StoryQuestion]] = {
    "one-fact": _one_fact,
    "two-facts": _two_facts,
    "relations": _relations,
    "deduction": _deduction,
    "table": _table,
}
