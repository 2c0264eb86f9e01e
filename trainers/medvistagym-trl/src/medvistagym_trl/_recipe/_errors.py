"""What is raised for a recipe that cannot be used."""

from __future__ import annotations

from medvistagym_core.plugins import SelectionError


class RecipeError(SelectionError):
    """A recipe or setting that cannot be had; the sentence says why and what there is."""
