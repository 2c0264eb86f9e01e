"""A new plugin's package: as it is written it installs, passes its tests and the conformance kit, and shows in the prompt."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from medvistagym_core.storage import write_folder_atomically
from medvistagym_core.tools import CORE, TOOL_NAME_PATTERN, core_version

_DISTRIBUTION: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class ScaffoldError(ValueError):
    """The package cannot be written under this name or in this place; the sentence says why."""


class PackageNames(NamedTuple):
    """What the parts of a plugin are called."""

    distribution: str
    module: str
    tool: str

    @classmethod
    def from_distribution(cls, name: str) -> PackageNames:
        """The names that follow from a distribution's, as the tool `invert` from `medvistagym-invert`.

        Raises:
            ScaffoldError: It is no name, or that of something else.
        """
        distribution = re.sub(r"[-_.]+", "-", name).lower()
        module = distribution.replace("-", "_")
        tool = module.removeprefix("medvistagym_")
        if not _DISTRIBUTION.fullmatch(distribution) or not TOOL_NAME_PATTERN.match(tool) or keyword.iskeyword(tool):
            raise ScaffoldError(
                f"{name!r} is not a name for a plugin: use letters, digits and - such as my-tool, a letter first"
            )
        if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
            raise ScaffoldError(
                f"there is a module {module} already; choose another name, such as medvistagym-{distribution}"
            )
        return cls(distribution, module, tool)


def write_package(name: str, folder: Path) -> Path:
    """Write the package of a new plugin; nothing is there unless all of it is, and nothing that exists is touched.

    Args:
        name: Name of the distribution, such as "my-tool".
        folder: Where the package's own folder, named like the distribution, is made.

    Returns:
        The package's folder.

    Raises:
        ScaffoldError: The name cannot be used, the folder does not exist, or something of that name is in it.
    """
    names = PackageNames.from_distribution(name)
    target = folder / names.distribution
    if not folder.is_dir():
        raise ScaffoldError(f"the folder {folder} does not exist")
    if os.path.lexists(target):
        raise ScaffoldError(f"{target} exists already; nothing was written")
    write_folder(target, files(names))
    return target


def write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Write a new folder of text files, whole or not at all.

    Args:
        folder: The folder, which must not exist; its parent does.
        files: The text of each file, by its path in the folder.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    with write_folder_atomically(folder) as part:
        for path, text in files.items():
            file = part / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")


def files(names: PackageNames) -> dict[str, str]:
    """The text of each file of the package, by its path."""
    return {
        "pyproject.toml": _pyproject(names),
        "README.md": _readme(names),
        ".gitignore": "__pycache__/\n*.egg-info/\n.venv/\nbuild/\ndist/\n",
        f"src/{names.module}/__init__.py": _module(names),
        f"src/{names.module}/py.typed": "",
        f"tests/test_{names.module}.py": _tests(names),
    }


def _pyproject(names: PackageNames) -> str:
    major, minor = core_version().split(".")[:2]
    below = f"{int(major) + 1}" if major != "0" else f"0.{int(minor) + 1}"
    return f"""\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{names.distribution}"
version = "0.1.0"
description = "The tool {names.tool} for MedVistaGym (research use only, not for clinical use)."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["{CORE}>={major}.{minor},<{below}"]

[project.optional-dependencies]
test = ["{CORE}[testing]"]

[project.entry-points.medvistagym]
{names.tool} = "{names.module}"

[tool.hatch.build.targets.wheel]
packages = ["src/{names.module}"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""


def _module(names: PackageNames) -> str:
    return f'''\
"""The tool `{names.tool}`."""

from typing import Annotated

from pydantic import Field

from medvistagym_core import Image, Tool, hookimpl, tool


@tool
def {names.tool}(image: Image, amount: Annotated[float, Field(ge=0, le=1)] = 1.0) -> Image:
    """Invert grey levels, so that what was dark appears bright.

    Use it when something dark and faint is asked for.

    Args:
        image: The image to invert.
        amount: How far to invert, from 0 (not at all) to 1 (wholly).
    """
    import numpy as np  # here, and not above, so that listing tools stays light

    values = image.pixels.astype(np.float32)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ValueError("the image has no finite value")
    with np.errstate(invalid="ignore"):
        mirrored = finite.min() + finite.max() - values
        mixed = values + np.float32(amount) * (mirrored - values)
    return image.with_pixels(mixed.astype(image.pixels.dtype))


@hookimpl
def medvistagym_tools() -> list[Tool]:
    """Offer the tools of this plugin."""
    return [{names.tool}]
'''


def _tests(names: PackageNames) -> str:
    return f'''\
"""The tool does what it says, and keeps to what every tool must."""

import numpy as np
from medvistagym_core import Image
from medvistagym_core.testing import conformance

from {names.module} import {names.tool}

test_conformance = conformance("{names.distribution}")


def test_dark_and_bright_change_places():
    image = Image(pixels=np.array([[0, 50], [100, 255]], np.uint8))
    assert {names.tool}(image).pixels.tolist() == [[255, 205], [155, 0]]
    assert {names.tool}(image, amount=0.0).pixels.tolist() == image.pixels.tolist()
'''


def _readme(names: PackageNames) -> str:
    return f"""\
# {names.distribution}

A tool for MedVistaGym, for research only and not for clinical use. `{names.tool}` inverts grey levels: a stand-in for what you
will write in `src/{names.module}/__init__.py`.

```
pip install -e '.[test]'
medvistagym tools list
medvistagym tools call {names.tool} --image scan.png --out out.png
medvistagym prompt --tools {names.tool}
pytest
medvistagym plugins check {names.distribution}
```

Once installed, the tool is in every toolbox, prompt and training run that selects it.
"""
