"""The parser of every command: as argparse's, with the nearest flag or choice for one that does not exist."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from medvistagym_core.cli._console import printable

__all__ = ["CommandParser", "HelpFormatter"]

_NUMBER: Final = re.compile(r"-?\d+")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help whose description and examples keep their lines."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        """What an argument takes; `FILE ... QUESTION` says itself that it takes several, and stands once."""
        if action.nargs == "+" and isinstance(action.metavar, str) and " ... " in action.metavar:
            return action.metavar
        return super()._format_args(action, default_metavar)


class CommandParser(argparse.ArgumentParser):
    """A parser whose complaints name what was probably meant, and whose output no terminal obeys."""

    _words: Sequence[str] = ()
    has_commands = False
    """Whether it is that of a group: what follows is for the parser of one of its commands."""

    def add_subparsers(self, **options: Any) -> Any:
        """Add commands as argparse does."""
        self.has_commands = True
        return super().add_subparsers(**options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, but for the order of words.

        A command without commands of its own says at once what it does not know. Of one that takes several words, such as
        files, they may stand anywhere among the options; an option that takes several numbers ends where the numbers end.
        """
        words = self.end_numbers(sys.argv[1:] if args is None else args)
        self._words = words
        options, left = super().parse_known_args(words, namespace)
        if not left or self.has_commands:
            return options, left
        several = next((one for one in self._actions if not one.option_strings and one.nargs in ("*", "+")), None)
        end = left.index("--") if "--" in left else len(left)
        plain, literal = left[:end], left[end + 1 :]
        if several is None or any(word.startswith("-") and len(word) > 1 for word in plain):
            self.refuse(left)
        convert = several.type if callable(several.type) else str
        given = getattr(options, several.dest) or []
        setattr(options, several.dest, [*given, *map(convert, (*plain, *literal))])
        return options, []

    def end_numbers(self, args: Sequence[str]) -> list[str]:
        """The same arguments with `--flag 0 1 word` as `--flag=0 --flag=1 word`: argparse would take the word as a number."""
        several = {flag for one in self._actions if one.nargs == "+" and one.type is int for flag in one.option_strings}
        words: list[str] = []
        left = list(args)
        while left:
            word = left.pop(0)
            if word == "--":
                return [*words, word, *left]
            numbers = list(itertools.takewhile(_NUMBER.fullmatch, left)) if word in several else []
            if numbers:
                del left[: len(numbers)]
                words += [f"{word}={number}" for number in numbers]
            else:
                words.append(word)
        return words

    def refuse(self, left: Sequence[str]) -> NoReturn:
        """End with exit code 2, since these arguments are none of this command's."""
        self.error(f"unrecognized arguments: {' '.join(left)}{self._nearest_flag(left)}")

    def _nearest_flag(self, left: Sequence[str]) -> str:
        for word in left:
            if nearest := self.nearest_flag(word):
                return f"; did you mean {nearest}?"
        return ""

    def nearest_flag(self, word: str) -> str | None:
        """The flag that a mistyped one was probably meant for; None of a word that is a flag, or is like none."""
        from medvistagym_core.tools import closest_match

        flag = word.partition("=")[0]
        flags = [one for action in self._actions for one in action.option_strings if one.startswith("--")]
        return closest_match(flag, flags) if flag.startswith("--") and flag not in flags else None

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
        """Print the usage and the complaint, and end with exit code 2.

        What is missing may stand there under a mistyped flag, which argparse does not come to speak of.
        """
        if "required" in message and not self.has_commands:
            for word in self._words:
                if nearest := self.nearest_flag(word):
                    message += f"; {word.partition('=')[0]} is none of its flags, did you mean {nearest}?"
        super().error(printable(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(printable(message))
