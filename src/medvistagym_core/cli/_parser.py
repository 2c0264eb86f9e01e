"""The parser of every command: as argparse's, with the nearest flag or choice for one that does not exist."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from medvistagym_core.cli._console import printable

__all__ = ["CommandParser"]


class CommandParser(argparse.ArgumentParser):
    """A parser whose complaints name what was probably meant, and whose output no terminal obeys."""

    has_commands = False
    """Whether it is that of a group: what follows is for the parser of one of its commands."""

    def add_subparsers(self, **options: Any) -> Any:
        """Add commands as argparse does."""
        self.has_commands = True
        return super().add_subparsers(**options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does; a command without commands of its own says at once what it does not know."""
        options, left = super().parse_known_args(args, namespace)
        if left and not self.has_commands:
            self.refuse(left)
        return options, left

    def refuse(self, left: Sequence[str]) -> NoReturn:
        """End with exit code 2, since these arguments are none of this command's."""
        self.error(f"unrecognized arguments: {' '.join(left)}{self._nearest_flag(left)}")

    def _nearest_flag(self, left: Sequence[str]) -> str:
        from medvistagym_core.tools import closest_match

        flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        for word in left:
            if word.startswith("--") and (nearest := closest_match(word.partition("=")[0], flags)):
                return f"; did you mean {nearest}?"
        return ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            from medvistagym_core.tools import closest_match

            suggestion = closest_match(str(value), [str(choice) for choice in action.choices or ()])
            if suggestion:
                raise argparse.ArgumentError(action, f"{error.message}; did you mean {suggestion}?") from None
            raise

    def error(self, message: str) -> NoReturn:
        """Print the usage and the complaint, and end with exit code 2."""
        super().error(printable(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(printable(message))
