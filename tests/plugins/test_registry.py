"""Registry, toolbox selection and lock."""

import numpy as np
import pytest

from medvistagym_core import Image, Registry, ToolboxLock, tool
from medvistagym_core.plugins import SelectionError
from medvistagym_core.tools import LockMismatchError


def named(name, text="Do it."):
    @tool(name=name)
    def f(image: Image) -> str:
        """D.

        Args:
            image: Any.
        """
        return name

    return f.with_metadata(description=text)


@pytest.fixture
def registry():
    registry = Registry()
    for plugin, name in [("b", "zoom"), ("a", "window"), ("a", "zoom"), ("b", "measure")]:
        registry.add_tool(named(name), plugin)
    return registry


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ("window", ["window"]),
        ("measure,window", ["window", "measure"]),
        ("a:*", ["window", "zoom"]),
        ("b:*", ["measure", "zoom"]),
        ("*,!a:zoom", ["window", "measure", "zoom"]),
        ("near=a:zoom,b:zoom", ["near", "zoom"]),
        (["window", "b:zoom"], ["window", "zoom"]),
        ("", []),
    ],
)
def test_selection_and_order(registry, select, names):
    assert list(registry.toolbox(select)) == names


def test_a_name_of_two_plugins_is_refused_with_both_and_the_way_out(registry):
    with pytest.raises(SelectionError, match=r"a:zoom and b:zoom .*other_zoom=b:zoom,a:zoom") as caught:
        registry.toolbox("*")
    advice = str(caught.value).split("'")[1]
    assert list(registry.toolbox(advice)) == ["zoom", "other_zoom"]


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("windw", "did you mean window"),
        ("c:*", "no tool matches"),
        ("X=a:zoom", "not a tool name"),
        ("x=a:*", "needs one tool"),
    ],
)
def test_selections_that_cannot_be_had_say_why(registry, select, said):
    with pytest.raises(SelectionError, match=said):
        registry.toolbox(select)


def test_only_tools_register():
    with pytest.raises(TypeError, match="@tool"):
        Registry().add_tool(lambda image: image)


def test_registering_again_replaces():
    registry = Registry()
    registry.add_tool(named("f", "Old."))
    registry.add_tool(named("f", "New."))
    assert [t.spec.description for t in registry.tools.values()] == ["New."]


def test_an_alias_runs_the_tool_it_stands_for(registry):
    toolbox = registry.toolbox("near=a:zoom")
    assert toolbox["near"].spec.name == "near"
    assert toolbox["near"].run({"image": Image(pixels=np.zeros((2, 2)))}).text == "zoom"
    assert toolbox.lock().tools[0].id == "a:zoom"


def test_the_lock_round_trips_and_names_every_difference(registry):
    lock = ToolboxLock.model_validate_json(registry.toolbox("window,measure").lock().model_dump_json())
    lock.check(registry.toolbox("measure,window"))
    with pytest.raises(LockMismatchError) as caught:
        lock.check(registry.toolbox("window,a:zoom"))
    assert caught.value.differences == ("measure is missing", "zoom was not there")
    registry.add_tool(named("window", "Do something else."), "a")
    with pytest.raises(LockMismatchError, match="window has another schema or description"):
        lock.check(registry.toolbox("window,measure"))


def test_missing_tasks_and_trainers_are_named():
    with pytest.raises(SelectionError, match="no task matches 'x'"):
        Registry().task("x")
    with pytest.raises(SelectionError, match=r"pip install 'medvistagym-core\[train\]', or from a clone"):
        Registry().trainer()
