"""How the libraries that train are set up: offline, quiet, and with idle threads asleep."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, Final

_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait stop a busy machine altogether
}


def configure_libraries() -> None:
    """Set up torch, transformers and TRL; called before they are imported. What the user has set already stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # TRL still uses names that transformers has renamed; a user can do nothing about it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]


def without_future_warnings(make: Callable[..., Any], **settings: Any) -> Any:
    """A TRL configuration, without the warnings of transformers about TRL's own use of a field's old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        return make(**settings)
