"""How the command line words a failure."""

from __future__ import annotations

__all__ = ["CommandError", "UsageError", "format_error", "is_usage"]


class UsageError(Exception):
    """The command was used wrongly (exit code 2): the message says what is accepted.

    Args:
        message: One sentence.
        listing: What there is to choose from, in lines below the sentence; empty for nothing.
    """

    def __init__(self, message: str, listing: str = "") -> None:
        super().__init__(message)
        self.listing = listing


class CommandError(Exception):
    """The work itself failed (exit code 1): the message says why."""


def is_usage(error: BaseException) -> bool:
    """Return whether the person who typed the command can mend it by typing another."""
    from medvistagym_core.environment import MissingDataError
    from medvistagym_core.plugins import SelectionError

    return isinstance(error, UsageError | SelectionError | MissingDataError)


def format_error(error: BaseException) -> str:
    """Return one line that says what `error` was.

    An exception class that authors raise for a user's mistake speaks for itself; any other is named, since its message
    alone rarely says enough.
    """
    from pydantic import ValidationError

    from medvistagym_core.tools import first_fault

    if isinstance(error, ValidationError):
        return ": ".join(filter(None, (error.title, *first_fault(error))))
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    is_bare_key = type(error) is KeyError and " " not in str(error.args[0] if error.args else "")
    if isinstance(error, KeyError) and error.args and not is_bare_key:
        text = str(error.args[0])
    else:
        text = str(error)
    text = " ".join(text.split())
    plain = not is_bare_key and isinstance(error, UsageError | CommandError | ValueError | OSError | LookupError)
    own = type(error).__module__.startswith("medvistagym_")
    return text if text and (plain or own) else f"{type(error).__name__}: {text}" if text else type(error).__name__
