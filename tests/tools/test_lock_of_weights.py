"""The hash of the files that a tool loads, in the lock of its toolbox."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from medvistagym_core import Registry, Tool, ToolboxLock, tool
from medvistagym_core.tools import LockMismatchError


def make_classifier(path: str, answer: str) -> Tool:
    """A tool that no module holds by its name, as those are that a file of settings describes."""

    @tool(name="classify", weights=[path])
    def classify() -> str:
        """Say what it is."""
        return answer

    made: Tool = classify.made_by(make_classifier, path, answer)
    return made


def registry_of(weights: Path) -> Registry:
    registry = Registry()
    registry.add_tool(make_classifier(str(weights), "a film"))
    return registry


def test_other_weights_are_another_toolbox(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    lock = registry_of(weights).toolbox().lock()
    assert lock.tools[0].weights is not None
    lock.check(registry_of(weights).toolbox())
    weights.write_bytes(b"another")
    with pytest.raises(LockMismatchError, match="classify has other weights"):
        lock.check(registry_of(weights).toolbox())


def test_the_hash_does_not_depend_on_where_the_files_lie(tmp_path: Path) -> None:
    files = [tmp_path / folder / "model.safetensors" for folder in ("here", "there")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(b"same")
    assert registry_of(files[0]).toolbox().lock_hash == registry_of(files[1]).toolbox().lock_hash


def test_a_lock_without_weights_keeps_its_hash() -> None:
    @tool
    def plain() -> str:
        """Say a word."""
        return "word"

    registry = Registry()
    registry.add_tool(plain)
    toolbox = registry.toolbox()
    written = toolbox.lock().model_dump_json(exclude={"tools": {"__all__": {"weights"}}})
    assert ToolboxLock.model_validate_json(written).sha256 == toolbox.lock_hash


def test_a_tool_made_by_a_function_is_made_anew_where_it_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"one")
    made = make_classifier(str(tmp_path / "w"), "a film").with_metadata(plugin="models", version="1+x", name="say")
    again = pickle.loads(pickle.dumps(made))
    assert (again.id, again.version, again.weights) == ("models:say", "1+x", made.weights)
    assert again.run({}).text == "a film"
