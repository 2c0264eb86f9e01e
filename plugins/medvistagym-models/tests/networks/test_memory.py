"""Models make room for each other when memory is short."""

from __future__ import annotations

import pytest

from medvistagym_models.networks import LoadedModels


def test_the_model_used_least_recently_makes_room() -> None:
    free = [8 * 2**30]

    def load(name: str) -> object:
        free[0] -= 3 * 2**30
        return name

    models = LoadedModels(lambda device: free[0])
    for name in ("a", "b"):
        with models.use(name, "cpu", 2 * 2**30, lambda name=name: load(name)):
            pass
    with models.use("a", "cpu", 2 * 2**30, lambda: load("a")) as one:
        assert one == "a"  # used again, so b goes first
    free[0] = 0

    def load_and_free() -> object:
        return "c"

    with models.use("c", "cpu", 2 * 2**30, load_and_free):
        assert "c" in models
        assert "b" not in models


def test_a_model_in_use_is_not_unloaded() -> None:
    models = LoadedModels(lambda device: 0)
    with models.use("a", "cpu", 1, lambda: "a"), models.use("b", "cpu", 1, lambda: "b"):
        assert "a" in models
        assert "b" in models


def test_memory_that_runs_out_while_loading_is_tried_once_more() -> None:
    models = LoadedModels(lambda device: None)
    tries = []

    def load() -> object:
        tries.append(1)
        if len(tries) == 1:
            raise MemoryError
        return "big"

    with models.use("small", "cpu", 1, lambda: "small"):
        pass
    with models.use("big", "cpu", 1, load) as one:
        assert one == "big"
    assert "small" not in models
    with models.use("small", "cpu", 1, lambda: "small"):
        pass
    with pytest.raises(MemoryError), models.use("big", "cpu", 1, load):
        raise MemoryError  # a batch that does not fit: the others make room for the next try
    assert "small" not in models
