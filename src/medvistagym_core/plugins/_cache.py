"""The folder in which what was found out about plugins is cached between commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "MEDVISTAGYM_CACHE"
"""The variable that turns it off, as 0: nothing is kept, and nothing that was kept is used."""


def cache_folder() -> Path | None:
    """The folder, which need not exist; None where `MEDVISTAGYM_CACHE` is 0, or where the user has no home."""
    import platformdirs

    folder = platformdirs.user_cache_path("medvistagym")
    return folder if os.environ.get(CACHE_VARIABLE) != "0" and folder.is_absolute() else None
