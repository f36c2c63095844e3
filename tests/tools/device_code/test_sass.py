"""Rules about machine code, on snippets of what the disassembler writes."""

from __future__ import annotations

import pytest

from tools.device_code import rules, sass
from tools.device_code.rules import Rule

CODE = """
Fatbin elf code:
================
arch = sm_90a
\tcode for sm_90a
\t\tFunction : walk
\t.headerflags\t@"EF_CUDA_TEXMODE_UNIFIED"
        /*0000*/                   LDC R1, c[0x0][0x28] ;             /* 0x00000a00ff017b82 */
                                                                      /* 0x000fe20000000800 */
        /*0010*/                   LDG.E.64 R2, desc[UR4][R2.64] ;    /* 0x0000000402027981 */
        /*0020*/               @P0 EXIT ;                             /* 0x000000000000094d */
        /*0030*/                   LDGSTS.E.BYPASS.128 [R7], [R2.64] ; /* 0x0 */
        /*0040*/              @!P1 BRA 0x70 ;                         /* 0x0 */
        /*0050*/                   HMMA.16816.F32.BF16 R4, R8, R10, R4 ; /* 0x0 */
        /*0060*/               @P2 BRA P3, 0x30 ;                     /* 0x0 */
        /*0070*/                   MEMBAR.ALL.GPU ;                   /* 0x0 */
        /*0080*/                   ERRBAR;                            /* 0x0 */
        /*0090*/                   REDG.E.ADD.STRONG.GPU desc[UR4][R2.64], R5 ; /* 0x0 */
        /*00a0*/                   EXIT ;                             /* 0x0 */
        /*00b0*/                   STL [R1], R2 ;                     /* 0x0 */
        /*00c0*/                   BRA 0x30 ;                         /* 0x0 */
        /*00d0*/                   BRA 0xd0;                          /* 0x0 */
        /*00e0*/                   NOP;                               /* 0x0 */
\t\t..........
\t\tFunction : stand
        /*0000*/                   EXIT ;                             /* 0x0 */
\tcode for sm_100
\t\tFunction : walk
        /*0000*/                   EXIT ;                             /* 0x0 */
"""


@pytest.fixture(scope="module")
def walk() -> sass.Function:
    return next(sass.parse(CODE))


def test_every_kernel_of_every_architecture_is_read(walk: sass.Function) -> None:
    found = [(each.architecture, each.name, len(each.code)) for each in sass.parse(CODE)]
    assert found == [("sm_90a", "walk", 15), ("sm_90a", "stand", 1), ("sm_100", "walk", 1)]
    assert walk.code[2] == sass.Instruction(0x20, "@P0 EXIT")
    assert walk.code[8].text == "ERRBAR"


def test_a_loop_is_what_leads_back(walk: sass.Function) -> None:
    """What stands behind the end and only leads into the loop is no part of it."""
    (product,) = walk.places(rules.MMA)
    assert sorted(walk.loop_of(product)) == [3, 4, 5, 6]
    assert walk.loop_of(1) == set()
    assert walk.loop_of(13) == {13}


def test_the_innermost_loop_is_the_shortest_way_back(walk: sass.Function) -> None:
    (product,) = walk.places(rules.MMA)
    assert sorted(walk.inner_loop_of(product)) == [3, 4, 5, 6]
    assert sorted(walk.inner_loop_of(8)) == [*range(3, 13)]
    assert walk.inner_loop_of(1) == set()


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (Rule("", "", needs=rules.MMA), ""),
        (Rule("", "", needs="LDSM"), "LDSM is missing"),
        (Rule("", "", needs=rules.COPY, loop=rules.MMA), ""),
        (Rule("", "", needs="MEMBAR", loop=rules.MMA), "MEMBAR is missing"),
        (Rule("", "", forbids=rules.LOAD, loop=rules.MMA), ""),
        (Rule("", "", needs=rules.MMA, loop=rules.COPY, inner=True), ""),
        (Rule("", "", forbids=rules.MMA, loop=rules.COPY, inner=True), "HMMA.16816.F32.BF16"),
        (Rule("", "", forbids=rules.LOAD), "LDG.E.64 R2, desc[UR4][R2.64] (1 of them)"),
        (Rule("", "", needs=rules.MMA, loop="MEMBAR"), "no loop holds MEMBAR"),
        (Rule("", "", needs=rules.ARRIVAL, just_before="MEMBAR"), ""),
        (Rule("", "", needs=rules.ARRIVAL, just_before="MEMBAR", near=1), "no MEMBAR ahead of REDG.E.ADD"),
        (Rule("", "", needs=rules.ARRIVAL, just_before="STL"), "no STL ahead of REDG.E.ADD"),
        (Rule("", "", needs="MEMBAR", just_after=rules.ARRIVAL), ""),
        (Rule("", "", needs=rules.ARRIVAL, just_after="MEMBAR"), "no MEMBAR behind REDG.E.ADD"),
    ],
)
def test_a_broken_rule_is_named(walk: sass.Function, rule: Rule, complaint: str) -> None:
    found = [*rule.complaints(walk)]
    assert len(found) == bool(complaint)
    assert "".join(found).startswith(complaint)


def test_local_memory_is_for_declared_spills(walk: sass.Function) -> None:
    (complaint,) = rules.judge([walk], set())
    assert "local memory" in complaint
    assert [*rules.judge([walk], {("sm_90a", "walk")})] == []
    assert [*rules.judge([walk], {("sm_100", "walk")})] == [complaint]


def test_a_rule_about_no_kernel_is_out_of_date() -> None:
    of_all = [*rules.without_kernels([("sm_90a", "walk")])]
    assert len(of_all) > 3
    assert any("hopper" in each for each in of_all)
    assert not any("hopper" in each for each in rules.without_kernels([("sm_80", "walk")]))
