"""Cases with blank images, another case's, or none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medvistagym_core.rollouts import ExpertPolicy, find_other_case, image_control, rollout


def test_blank_images_keep_size_unit_and_window_and_nothing_else(task):
    case = task.case("test", 1)
    (blank,) = image_control("blank", task)(case).images
    (own,) = case.images
    assert not blank.pixels.any()
    assert (blank.shape, blank.unit, blank.modality, blank.window) == (own.shape, own.unit, own.modality, own.window)
    assert not blank.attributes
    assert own.pixels.any()


def test_shuffled_images_are_those_of_another_case(task):
    case = task.case("test", 4, 3)
    changed = image_control("shuffled", task, seed=3)(case)
    others = [task.case("test", index, 3).images[0].digest for index in range(10)]
    assert changed.images[0].digest != case.images[0].digest
    assert changed.images[0].digest in others
    assert (changed.id, changed.question, changed.answer) == (case.id, case.question, case.answer)
    assert changed.facets["images"] == "shuffled"


def test_an_image_that_many_questions_share_is_no_other_one(task):
    class Shared:
        name, splits = "shared", ("test",)

        def size(self, split):
            return 6

        def case(self, split, index, seed=0):
            if index == 4:
                raise ValueError("a broken picture")
            return dataclasses.replace(task.case("test", 1 if index < 5 else 3), index=index)

    shared = Shared()
    changed = image_control("shuffled", shared)(shared.case("test", 0))
    assert changed.images[0].digest == shared.case("test", 5).images[0].digest
    assert find_other_case(shared, shared.case("test", 0), 0, lambda other: False) is None


def test_an_expert_that_looks_is_lost_without_images(task, toolbox):
    policy = ExpertPolicy(task)
    found = {}
    for control in ("blank", "shuffled"):
        change = image_control(control, task)
        played = list(rollout(policy, task, toolbox, "test", range(16), change_case=change))
        found[control] = sum(t.outcome.correct for t in played)
        assert all(t.facets["images"] == control for t in played)
    assert found["blank"] == 0
    assert found["shuffled"] < 10


def test_none_shows_no_image(task, toolbox):
    class Counting:
        name, sampling = "counting", {}

        def act(self, observations):
            assert all(not o.images for o in observations)
            return ["<answer>unclear</answer>" for _ in observations]

    change = image_control("none", task)
    (played,) = rollout(Counting(), task, toolbox, "test", [0], change_case=change)
    assert played.images == ()
    assert played.outcome.answer == "unclear"


def test_an_unknown_control_is_refused(task):
    with pytest.raises(ValueError, match="images are blank, shuffled, none, not 'black'"):
        image_control("black", task)


def test_a_stack_in_colour_can_be_blank(task):
    from medvistagym_core.imaging import Image

    stack = Image(pixels=np.full((3, 4, 5, 3), 7, np.uint8), photometric="RGB", frame=1)
    (blank,) = image_control("blank", task)(dataclasses.replace(task.case("test", 0), images=(stack,))).images
    assert (blank.frames, blank.frame, blank.photometric) == (3, 1, "RGB")
