"""What the assembler reports of spills, and which may be."""

from __future__ import annotations

from tools.device_code import spills

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN5pyrnn4walkILi80EEEvPf' for 'sm_80'
ptxas info    : Function properties for _ZN5pyrnn4walkILi80EEEvPf
    480 bytes stack frame, 276 bytes spill stores, 272 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 480 bytes cumulative stack size, 368 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN5pyrnn4walkILi8EEEvPf' for 'sm_90a'
ptxas info    : Function properties for _ZN5pyrnn4walkILi8EEEvPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 1 barriers
"""


def test_the_assemblers_report_is_read() -> None:
    large, small = spills.parse(REPORT)
    assert (large.architecture, large.spill_bytes, large.stack_bytes, large.registers) == (
        "sm_80",
        276,
        480,
        64,
    )
    assert (small.architecture, small.spill_bytes, small.registers) == ("sm_90a", 0, 31)


def test_products_that_wait_for_one_another_are_told() -> None:
    remark = "(C7520) Potential Performance Loss: wgmma.mma_async instructions are serialized due to program"
    assert [*spills.serialised(f"ptxas info    : {remark}\n{REPORT}")] == [f"ptxas info    : {remark}"]


def test_a_kernel_may_spill_what_is_declared_and_no_more() -> None:
    kernels = [*spills.parse(REPORT)]
    name = kernels[0].name
    declared = spills.read_declared(f"# why\nsm_80 276 {name}\nsm_80 100 {name}\n")
    assert spills.undeclared(kernels, declared) == []
    for text in ("", f"sm_80 275 {name}\n", f"sm_90a 276 {name}\n"):
        (complaint,) = spills.undeclared(kernels, spills.read_declared(text))
        assert "spills 276 bytes" in complaint
    assert spills.read_declared(spills.declaration(kernels)) == {("sm_80", name): 276}


def test_the_committed_list_can_be_read() -> None:
    spills.read_declared(spills.DECLARED.read_text())
