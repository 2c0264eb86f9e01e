"""Trying a model with the interpreter that its entry names: `python -m medvistagym_models.checking._elsewhere`."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medvistagym_core.imaging import Image
from medvistagym_models._entry import ModelEntry
from medvistagym_models._models_file import ModelError
from medvistagym_models.checking._check import CheckReport, check_model

_LIMIT_S = 3600


def check_elsewhere(entry: ModelEntry, image: Image | None = None, devices: Sequence[str] = ("cpu",)) -> CheckReport:
    """`check_model`, run by the interpreter that the entry names; in this process when it names none.

    Args:
        entry: The model.
        image: As for `check_model`.
        devices: As for `check_model`.

    Raises:
        ModelError: It cannot be loaded, fails on the picture, or the interpreter lacks this package.
    """
    if entry.python is None:
        return check_model(entry, image, devices)
    if not Path(entry.python).is_file():
        raise ModelError(entry.name, f"python {entry.python} is not there; make it with python -m venv and pip install")
    asked = pickle.dumps((entry.model_copy(update={"python": None}), image, tuple(devices)))
    command = [entry.python, "-P", "-m", "medvistagym_models.checking._elsewhere"]
    ran = subprocess.run(command, input=asked, capture_output=True, timeout=_LIMIT_S, check=False)
    if ran.returncode:
        lines = ran.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise ModelError(entry.name, f"cannot be tried by {entry.python}: {lines[-1][:300]}")
    answer: CheckReport | ModelError = pickle.loads(ran.stdout)
    if isinstance(answer, ModelError):
        raise answer
    return answer


def _main() -> None:
    entry, image, devices = pickle.loads(sys.stdin.buffer.read())
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a package prints is no answer
    try:
        answer: CheckReport | ModelError = check_model(entry, image, devices)
    except ModelError as error:
        answer = error
    out.write(pickle.dumps(answer))


if __name__ == "__main__":
    _main()
