"""models.toml: where it lies, and what it says.

It is named by `--models`, else by the environment variable MEDVISTAGYM_MODELS, else it is `models.toml` in the user's
configuration folder, if that is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from medvistagym_core.tools import closest_match, parse_toml
from medvistagym_models._entry import TASKS, InputSettings, ModelEntry

MODELS_ENV_VAR: Final = "MEDVISTAGYM_MODELS"
_FILE: Final = "models.toml"


class ModelError(ValueError):
    """A model that cannot be used as models.toml asks; one sentence that begins with the model's name.

    Args:
        name: The model's name in models.toml.
        reason: The rest of the sentence.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"[{self.name}] {self.reason}"


def default_models_file() -> Path | None:
    """The file that the environment or the user's configuration folder has; None without one.

    Raises:
        ValueError: The environment names a file that is not there.
    """
    named = os.environ.get(MODELS_ENV_VAR, "").strip()
    if named:
        file = Path(named).expanduser()
        if not file.is_file():
            raise ValueError(f"{MODELS_ENV_VAR} names {named}, and there is no such file")
        return file
    file = configuration_folder() / _FILE
    return file if file.is_file() else None


def configuration_folder() -> Path:
    """The user's configuration folder of this program, whether it is there or not."""
    import platformdirs

    return platformdirs.user_config_path("medvistagym")


def read_models(file: str | Path) -> Iterator[ModelEntry | ModelError]:
    """The entries of a file in their order; for one that cannot be used the error that says why.

    Args:
        file: The file; paths in it are relative to its folder.

    Raises:
        ValueError: It cannot be read, or is not TOML.
    """
    file = Path(file)
    try:
        content = parse_toml(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file.name} is not a TOML file that can be read: {error}") from None
    for name, table in content.items():
        try:
            yield _read_entry(name, table, file.resolve().parent)
        except ModelError as error:
            yield error


def _read_entry(name: str, table: Any, folder: Path) -> ModelEntry:
    if not isinstance(table, Mapping):
        raise ModelError(name, f"is not a table: write [{name}] on a line of its own, and its settings below")
    settings = dict(table)
    if settings.pop("trust_remote_code", False):
        raise ModelError(name, "trust_remote_code is refused: code that lies beside weights is never run")
    try:
        entry = ModelEntry.model_validate({**settings, "name": name})
    except ValidationError as error:
        raise ModelError(name, _reason(error)) from None
    changes: dict[str, Any] = {}
    if entry.path is not None:
        changes["path"] = _existing(entry, folder / entry.path.expanduser())
    if entry.python is not None and os.sep in entry.python:
        changes["python"] = str((folder / Path(entry.python).expanduser()).absolute())
    return entry.model_copy(update=changes)


def _existing(entry: ModelEntry, path: Path) -> Path:
    """The path, if it is there.

    Raises:
        ModelError: It is not; the sentence has the nearest name that is.
    """
    if path.exists():
        return path.resolve()
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    near = closest_match(missing.name, [other.name for other in missing.parent.iterdir()])
    hint = f"; did you mean {missing.parent / near}?" if near else f"; {missing.parent} has no {missing.name}"
    raise ModelError(entry.name, f"path {entry.path} is not there{hint}")


def _reason(error: ValidationError) -> str:
    """The first fault of an entry as a sentence, with the nearest valid name."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    while location and (
        location[-1].startswith(("function-", "tuple[", "constrained", "literal[")) or location[-1] == "int"
    ):
        location.pop()  # which of the allowed kinds was tried is nothing a user can act on
    if first["type"] == "extra_forbidden":
        names = list((InputSettings if location[0] == "input" else ModelEntry).model_fields)
        near = closest_match(location[-1], names)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(n for n in names if n != 'name')}"
        return f"has no setting {'.'.join(location)}; {hint}"
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{'.'.join(location)}: {message}" if location else message
    if location == ["task"]:
        near = closest_match(str(first["input"]), TASKS)
        return f"task {first['input']!r} is none; " + (
            f"did you mean {near}?" if near else f"it is one of {', '.join(TASKS)}"
        )
    if location == ["name"]:
        return "is not a name: a lower-case letter, then letters, digits or _, 64 at most"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{'.'.join(location)}: {message.replace('input should', 'it should')}, not {first['input']!r}"
