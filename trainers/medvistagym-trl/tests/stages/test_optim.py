"""The optimiser."""

from __future__ import annotations

import pytest
import torch

from medvistagym_trl.stages import Float32Muon, newton_schulz


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (1, 16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(newton_schulz(torch.randn(shape), 10))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_it_fits_a_small_network() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    inputs = torch.randn(64, 8)
    wanted = inputs @ torch.randn(8, 2)
    optimiser = Float32Muon(model, matrix_lr=0.02, other_lr=0.01)
    losses = []
    for _ in range(120):
        loss = torch.nn.functional.mse_loss(model(inputs), wanted)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_vectors_are_left_to_adam() -> None:
    model = torch.nn.Linear(4, 4)
    optimiser = Float32Muon(model, matrix_lr=0.0, other_lr=0.1, weight_decay=0.0)
    before = model.weight.detach().clone(), model.bias.detach().clone()
    model(torch.ones(2, 4)).sum().backward()
    optimiser.step()
    assert torch.equal(model.weight, before[0])
    assert torch.allclose(model.bias, before[1] - 0.1, atol=1e-5)  # Adam's first step has the size of its rate


def test_matrices_of_several_shapes_become_what_they_become_alone() -> None:
    def trained(*layers: torch.nn.Linear) -> list[torch.Tensor]:
        model = torch.nn.ModuleList(layers)
        optimiser = Float32Muon(model, matrix_lr=0.02, other_lr=0.01)
        for _ in range(3):
            sum(layer(torch.ones(2, layer.in_features)).square().sum() for layer in layers).backward()
            optimiser.step()
            optimiser.zero_grad()
        return [layer.weight for layer in layers]

    def layers() -> tuple[torch.nn.Linear, ...]:
        torch.manual_seed(0)
        return tuple(torch.nn.Linear(*shape) for shape in ((8, 8), (24, 8), (8, 40)))

    together = trained(*layers())
    alone = [weight for layer in layers() for weight in trained(layer)]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_a_matrix_whose_shorter_side_is_long_is_left_to_adam() -> None:
    model = torch.nn.ModuleList([torch.nn.Linear(256, 300, bias=False), torch.nn.Linear(257, 257, bias=False)])
    optimiser = Float32Muon(model, matrix_lr=0.0, other_lr=0.1, weight_decay=0.0)
    before = [weight.detach().clone() for weight in model.parameters()]
    sum(weight.sum() for weight in model.parameters()).backward()
    optimiser.step()
    kept, moved = model.parameters()
    assert torch.equal(kept, before[0])
    assert torch.allclose(moved, before[1] - 0.1, atol=1e-5)
