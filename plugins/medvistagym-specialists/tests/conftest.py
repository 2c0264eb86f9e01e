"""Environments of their own for the packages of specialists, `build/envs/NAME` or `$MEDVISTAGYM_ENVS/NAME`.

One that is not there is made by the commands of the documentation, which takes minutes and, of the largest, 7 GB. It stays for
the next run, and `make clean` removes it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
ENVS: Final = Path(os.environ.get("MEDVISTAGYM_ENVS", ROOT / "build" / "envs"))
_EXTRAS: Final = {
    "torchvision": ("torchxrayvision", "totalsegmentator", "hdbet"),
    "lungmask": ("lungmask",),
    "lungs": ("lungsfinder",),
}
_IMPORTS: Final = {
    "torchvision": "torchxrayvision, totalsegmentator, HD_BET",
    "lungmask": "lungmask",
    "lungs": "lungs_finder",
}
_OF_ADAPTER: Final = {
    "torchxrayvision": "torchvision", "torchxrayvision_anatomy": "torchvision", "hdbet": "torchvision",
    "totalsegmentator": "torchvision", "lungmask": "lungmask", "lungs_finder": "lungs",
}  # fmt: skip
_TIMEOUT_S: Final = 1800


@pytest.fixture
def interpreter_of() -> Callable[[str], Path]:
    """A function that gives the interpreter of the environment that holds an adapter's package.

    The test is skipped where the environment cannot be made.
    """
    return _interpreter_of


@functools.cache
def _interpreter_of(adapter: str) -> Path:
    name = _OF_ADAPTER[adapter]
    python = ENVS / name / "bin" / "python"
    if not _works(python, name):
        try:
            _make(python, name)
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or [error.stderr[-300:]]
            pytest.skip(
                f"{' and '.join(_EXTRAS[name])} cannot be installed from the package index: {lines[-1].strip()}"
            )
        assert _works(python, name)
    return python


def _works(python: Path, name: str) -> bool:
    if not python.is_file():
        return False
    probe = f"import medvistagym_specialists, {_IMPORTS[name]}"
    return subprocess.run([python, "-W", "ignore", "-c", probe], capture_output=True, check=False).returncode == 0


def _make(python: Path, name: str) -> None:
    _run(sys.executable, "-m", "venv", python.parent.parent)
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if name != "torchvision":  # which fits the torch of the index alone; the others run with the pinned one
        pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        constraint = python.parent.parent / "torch.txt"
        constraint.write_text(next(pin for pin in pins if pin.startswith("torch==")), "utf-8")
        pip += ["--constraint", constraint]
    specialists = f"./plugins/medvistagym-specialists[{','.join(_EXTRAS[name])}]"
    for home in (".", "./plugins/medvistagym-segment", "./plugins/medvistagym-models", specialists):
        pip += ["--editable", home]
    _run(*pip)


def _run(*command: str | Path) -> None:
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PIP_CONSTRAINT")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
