"""What a network's numbers say about it: how far back its gradients reach."""

from pyrnn.diagnostics.gradient_flow import (
    GradientFlow,
    Verdict,
    compare_cells,
    fresh_cells,
    gradient_flow,
    verdict_of,
)

__all__ = ["GradientFlow", "Verdict", "compare_cells", "fresh_cells", "gradient_flow", "verdict_of"]
