"""Classifiers that try to predict the answer from inputs that must not reveal it.

They are strong on purpose: an audit proves no more than its strongest attacker can try.
"""

from __future__ import annotations

import importlib.util
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def classify_by_ridge(train: np.ndarray, answers: np.ndarray, test: np.ndarray, strength: float = 1e-2) -> np.ndarray:
    """Answers that a linear classifier (ridge regression on one-hot answers) gives to `test`.

    Args:
        train: `(n, d)` features, any scale.
        answers: `(n,)` classes from 0.
        test: `(m, d)` features.
        strength: Penalty on the weights, as a share of the number of training rows.

    Returns:
        `(m,)` classes.
    """
    import numpy as np

    centre, scale = train.mean(0), train.std(0) + 1e-6
    x, z = (train - centre) / scale, (test - centre) / scale
    hot = np.eye(int(answers.max()) + 1)[answers]
    penalty, targets = strength * len(x), hot - hot.mean(0)
    if len(x) < x.shape[1]:  # the same weights, from the smaller of the two systems
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), targets)
    else:
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ targets)
    predicted: np.ndarray = (z @ weights + hot.mean(0)).argmax(1)
    return predicted


def pattern_features(scouts: np.ndarray, kernels: int = 32, seed: int = 0) -> np.ndarray:
    """Features of pictures for `classify_by_ridge`.

    Means of each 4 x 4 block, and where random 5 x 5 kernels respond, on a grid of 6 x 6 cells.

    Args:
        scouts: `(n, 64, 64)` uint8.
        kernels: Number of random kernels.
        seed: Of the kernels.

    Returns:
        `(n, 256 + 72 * kernels)` float32: mean and greatest response in each cell.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(25, kernels)).astype(np.float32)
    bank -= bank.mean(0) * rng.integers(0, 2, kernels)
    rows = []
    for start in range(0, len(scouts), 100):
        grey = scouts[start : start + 100].astype(np.float32) / 255
        blocks = grey.reshape(-1, 16, 4, 16, 4).mean((2, 4)).reshape(len(grey), -1)
        windows = np.lib.stride_tricks.sliding_window_view(grey, (5, 5), axis=(1, 2))[:, ::2, ::2]
        response = np.maximum(windows.reshape(len(grey), 30, 30, 25) @ bank, 0).reshape(-1, 6, 5, 6, 5, kernels)
        cells = [response.mean((2, 4)), response.max((2, 4))]
        rows.append(np.concatenate([blocks, *(c.reshape(len(grey), -1) for c in cells)], 1))
    return np.concatenate(rows)


def has_network() -> bool:
    """Whether PyTorch is there for `classify_by_network`."""
    return importlib.util.find_spec("torch") is not None


def classify_by_network(
    train: np.ndarray, answers: np.ndarray, test: np.ndarray, epochs: int = 5, seed: int = 0
) -> np.ndarray:
    """Answers that a small convolutional network gives to `test`, after so many epochs on `train`. Needs PyTorch.

    Args:
        train: `(n, 64, 64)` uint8.
        answers: `(n,)` classes from 0.
        test: `(m, 64, 64)` uint8.
        epochs: Passes over `train`.
        seed: Of weights and order.

    Returns:
        `(m,)` classes.
    """
    import torch
    from torch import nn

    def tensor(pictures: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pictures)[:, None].float() / 127.5 - 1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = (1, 24, 48, 64)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
        model = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(64 * 64, 128), nn.ReLU(), nn.Linear(128, int(answers.max()) + 1)
        )
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        x, y = tensor(train), torch.from_numpy(answers).long()
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(x)), 64):
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        model.eval()
        with torch.inference_mode():
            batches = [model(batch).argmax(1) for batch in torch.split(tensor(test), 500)]
            predicted: np.ndarray = torch.cat(batches).numpy()
    return predicted
