"""Muon in single precision.

Momentum whose matrix is brought to (nearly) orthogonal form by a Newton-Schulz iteration before it is applied
(K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024). `torch.optim.Muon` iterates in
bfloat16, which a CPU without bfloat16 units emulates at seconds a step; this one stays in float32 and stacks matrices
of equal shape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, from the paper: steepest at zero while singular values end up near one."""
_MAX_SIDE = 256
"""Longest shorter side of a matrix that Muon trains: the iteration takes the cube of it."""


class Float32Muon(torch.optim.Optimizer):
    """Muon in float32 for matrices, AdamW for all else, as one optimiser.

    Args:
        model: Its two-dimensional weights that are no embeddings are matrices, unless their shorter side is above 256: of the
            tiny model that is one, which alone would take as long as all others, and is seen as well after AdamW.
        matrix_lr: Step size of Muon; an update has a root-mean-square size of about 0.2 * lr.
        other_lr: Step size of AdamW.
        weight_decay: Decoupled weight decay of both.
        momentum: Decay of Muon's (Nesterov) momentum.
        betas: Decays of AdamW.
        iterations: Newton-Schulz iterations.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        matrix_lr: float,
        other_lr: float,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        iterations: int = 5,
    ):
        named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        matrices = [
            weight
            for name, weight in named
            if weight.ndim == 2 and "embed" not in name and min(weight.shape) <= _MAX_SIDE
        ]
        chosen = {id(weight) for weight in matrices}
        others = [weight for _, weight in named if id(weight) not in chosen]
        groups = [
            {"params": matrices, "lr": matrix_lr, "matrices": True},
            {"params": others, "lr": other_lr, "matrices": False},
        ]
        shared = {"weight_decay": weight_decay, "momentum": momentum, "betas": betas, "iterations": iterations}
        super().__init__([group for group in groups if group["params"]], shared)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Apply one update to every weight that has a gradient.

        Args:
            closure: Not called; optimizers of torch take one.
        """
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            if group["matrices"]:
                self._muon(group, weights)
            else:
                self._adam(group, weights)

    def _muon(self, group: dict[str, Any], weights: list[torch.Tensor]) -> None:
        shapes: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)
        for weight in weights:
            gradient = weight.grad
            average = self.state[weight].setdefault("average", torch.zeros_like(weight))
            average.lerp_(gradient, 1 - group["momentum"])
            shapes[weight.shape].append((weight, gradient.lerp(average, group["momentum"])))  # type: ignore[union-attr]
        # Shapes beside one another, each by operations of one thread: the same bits, sooner where a core is free.
        work = sorted(shapes.items(), key=lambda each: -_operations(each[0], len(each[1])))
        stacks = [torch.stack([update for _, update in members]) for _, members in work]
        iterate = partial(newton_schulz, iterations=group["iterations"])
        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            updated = list(threads.map(iterate, stacks))
        for (shape, members), updates in zip(work, updated, strict=True):
            scale = 0.2 * max(shape) ** 0.5
            for (weight, _), update in zip(members, updates, strict=True):
                weight.add_(update, alpha=-group["lr"] * scale)

    def _adam(self, group: dict[str, Any], weights: list[torch.Tensor]) -> None:
        first, second = group["betas"]
        for weight in weights:
            state = self.state[weight]
            if not state:
                state.update(step=0, average=torch.zeros_like(weight), square=torch.zeros_like(weight))
            state["step"] += 1
            gradient = weight.grad
            state["average"].lerp_(gradient, 1 - first)
            state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
            size = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(1e-8)
            weight.addcdiv_(state["average"], size, value=-group["lr"] / (1 - first ** state["step"]))


def _operations(shape: torch.Size, count: int) -> int:
    """In what proportion matrices of a shape take time."""
    short, long = sorted(shape)
    return count * short * short * (2 * long + short)


@torch.no_grad()
def newton_schulz(matrices: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Move all singular values of matrices (N, rows, columns) to about one, by Newton-Schulz iteration.

    Args:
        matrices: Float32 (N, rows, columns).
        iterations: Steps of the quintic iteration.

    Returns:
        Float32 of the same shape.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
