"""Results that are wrong on purpose: by a seed, logged, and said by the same sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core import Image, ImageStore, Registry, Tool, ToolCall, ToolResult
from medvistagym_core.trajectories import call_record
from medvistagym_models.perturbation import make_perturbing_executor, parse_settings

Make = Callable[..., Any]
ENTRY = '[look]\npath = "model"\ntask = "{}"\ndescription = "Looks at films."\n'


@pytest.fixture
def play(tmp_path: Path, models: Callable[[str], dict[str, Tool]], save: Make, film: Make) -> Callable[..., Any]:
    """A function that calls the tool of a task on films, under settings of the executor; results in order."""

    def run(task: str, settings: str, films: int = 1, **arguments: Any) -> list[ToolResult]:
        if not (tmp_path / "model").exists():
            save(task, tmp_path / "model")
        registry = Registry()
        registry.add_tool(models(ENTRY.format(task))["look"], "models")
        call = ToolCall(name="look", arguments={"image": 0, **arguments})
        with make_perturbing_executor(registry.toolbox(), settings) as executor:  # type: ignore[attr-defined]
            return [found[0] for found in executor.run([(ImageStore([film(k)]), [call]) for k in range(films)])]

    return run


def test_some_results_are_wrong_and_a_seed_says_which(play: Callable[..., Any]) -> None:
    def kinds(settings: str) -> list[str | None]:
        return [one.perturbation for one in play("image-classification", settings, 40)]

    first = kinds("rate=0.4,seed=1")
    assert first == kinds("rate=0.4,seed=1")
    assert first != kinds("rate=0.4,seed=2")
    assert 8 <= sum(kind is not None for kind in first) <= 24
    assert set(first) == {None, "dropped", "shifted", "contradicted"}
    assert kinds("rate=0") == [None] * 40


def test_a_contradicted_class_is_another_and_its_sentence_says_so(play: Callable[..., Any]) -> None:
    (right,) = play("image-classification", "rate=0")
    (wrong,) = play("image-classification", "rate=1,kinds=contradicted")
    assert wrong.perturbation == "contradicted"
    assert wrong.data["findings"][0]["label"] != right.data["findings"][0]["label"]
    assert wrong.text.startswith(wrong.data["findings"][0]["label"])
    assert sum(wrong.data["probabilities"].values()) == pytest.approx(1, abs=0.01)


def test_a_shifted_mask_and_its_box_move_together(play: Callable[..., Any]) -> None:
    (right,) = play("semantic-segmentation", "rate=0", label="opacity")
    (wrong,) = play("semantic-segmentation", "rate=1,kinds=shifted", label="opacity")
    assert wrong.perturbation == "shifted"
    assert wrong.text != right.text
    assert wrong.images[0].digest != right.images[0].digest


def test_a_dropped_result_is_an_error_that_a_policy_can_read(play: Callable[..., Any]) -> None:
    (wrong,) = play("object-detection", "rate=1,kinds=dropped", threshold=0.3)
    assert wrong.error.code == "tool_failed"
    assert wrong.error.message == "look gave no result; go on without it."


def test_the_record_of_a_call_says_that_it_was_made_wrong(play: Callable[..., Any]) -> None:
    (wrong,) = play("image-classification", "rate=1,kinds=contradicted")
    record = call_record(ToolCall(name="look", arguments={"image": 0}), wrong, [])
    assert record.perturbation == "contradicted"


def test_an_ordinary_tool_is_left_alone_unless_it_is_named(film: Make) -> None:
    from medvistagym_core import tool

    @tool
    def size(image: Image) -> str:
        """Say the size.

        Args:
            image: Any.
        """
        return str(image.shape)

    registry = Registry()
    registry.add_tool(size, "mine")
    call = [(ImageStore([film()]), [ToolCall(name="size", arguments={"image": 0})])]
    for settings, expected in (("rate=1", None), ("rate=1,tools=find_*+si*,kinds=dropped", "dropped")):
        with make_perturbing_executor(registry.toolbox(), settings) as executor:  # type: ignore[attr-defined]
            assert executor.run(call)[0][0].perturbation == expected
    with pytest.raises(ValueError, match=r"tools=find_\* names none of size"):
        make_perturbing_executor(registry.toolbox(), "rate=1,tools=find_*")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rat=1", "did you mean rate?"),
        ("rate=2", "a rate lies between 0 and 1"),
        ("kinds=lost", "'lost' is not one of"),
    ],
)
def test_wrong_settings_are_told(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        parse_settings(text)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("proces", "no executor is called 'proces'; did you mean process?"),
        ("perturb", "perturb: executor=perturb: it cannot change results; local, process and ray can"),
    ],
)
def test_an_executor_that_cannot_change_results_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        make_perturbing_executor(Registry().toolbox(), f"rate=1,executor={name}")
