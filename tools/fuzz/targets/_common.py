"""What the targets share: settings around a call, and odd arguments put into a valid one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyrnn import _native
from tools.fuzz.calls import Argument, Call, Environment
from tools.fuzz.drawing import Drawer

_ISAS = tuple(_native.isas())

#: Numbers that are not those of the rule: a factor of all numbers, or a few injected among them.
FACTORS = (1e-30, 1e-20, 1e9, 1e15)
INJECTED = ("torch.nan", "torch.inf", "-torch.inf", "1e18", "-1e18")


def environment(d: Drawer, *, autocast: bool = False) -> Environment:
    """Random settings; with autocast only where `autocast` allows it."""
    return Environment(
        d.pick(_ISAS),
        2 if d.chance(0.12) else 1,
        d.pick(("enable_grad",) * 14 + ("no_grad",) * 2 + ("inference_mode",)),
        autocast and d.chance(0.1),
    )


def made_extreme(d: Drawer, call: Call, names: Sequence[str], *, strict: bool = True) -> Call:
    """The call with very small or large numbers, or numbers that are not finite, in some of `names`.

    Without `strict` only NaN must be told: an infinite number may be hidden by a gate that is closed.
    """
    told = True
    arguments = dict(call.arguments)
    for name in dict.fromkeys(d.pick(names) for _ in range(2)):
        source = arguments[name].given
        if "normal(" not in source:
            continue
        bare = source.removeprefix("leaf(").removesuffix(")") if source.startswith("leaf(") else source
        if d.chance(0.5):
            changed = f"({bare} * {d.pick(FACTORS):g})"
        else:
            value = d.pick(INJECTED)
            told = told and (strict or value == "torch.nan")
            changed = f"injected({bare}, {d.seed()}, {value}, {d.pick((1, 2, 5))})"
        arguments[name] = Argument(f"leaf({changed})" if bare is not source else changed)
    return call.changed(arguments=arguments, extreme=True, forgets=call.forgets or not told)


def made_odd(
    d: Drawer,
    call: Call,
    tensors: Sequence[str],
    options: Sequence[str],
    special: Callable[[Drawer, str], Argument | None] = lambda _, __: None,
    *,
    shrink: bool = False,
) -> Call:
    """The call with one or two arguments that no caller should give, or only a strange one.

    `special` may know of odd values that only an argument of this name can have.
    """
    arguments, names = dict(call.arguments), (tuple(tensors), (*tensors, *options))
    for name in dict.fromkeys(d.pick(d.pick(names)) for _ in range(1 if d.chance(0.8) else 2)):
        argument = special(d, name) if d.chance(0.4) else None
        if argument is None and name in options:
            argument = Argument(d.odd_number())
        elif argument is None:
            argument = d.odd_tensor(arguments[name].meant, shrink=shrink and name != "seed")
        arguments[name] = argument
    return call.changed(arguments=arguments, odd=True)


def odd_lengths(d: Drawer, count: int, most: int) -> Argument:
    """Lengths out of range, on other devices, or as tensors of another kind."""
    good = f"integers({d.seed()}, ({count},), 0, {most})"
    bad = f"integers({d.seed()}, ({count},), {most + 1}, {d.pick((most + 1, 10**6, 2**40))})"
    below = f"integers({d.seed()}, ({count},), {d.pick((-1, -(2**31), -(2**60)))}, -1)"
    kind = d.below(8)
    if kind < 3 and count:
        wrong = d.pick((bad, below))
        how = d.pick(("{}", "subclass({})", "nn.Parameter({}, requires_grad=False)", "({}).int()"))
        return Argument(
            how.format(wrong), refuse="" if "int()" in how else "out of range: " + how.format("...")
        )
    how = d.pick(
        (
            "subclass({})",
            "nn.Parameter({}, requires_grad=False)",
            "({}).int()",
            "({}).to('meta')",
            "({}).tolist()",
        )
    )
    return Argument(how.format(good), None if how.endswith(".tolist()") else good)
