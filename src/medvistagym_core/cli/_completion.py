"""`medvistagym completion bash | zsh | fish`: commands, flags, tools and choices, completed by the shell.

The scripts ask `medvistagym completion words -- WORD ...` at every tab, so that they know of every tool that is installed.
Where nothing is known to fit, the shell completes the names of files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_text
from medvistagym_core.cli._options import add_common

if TYPE_CHECKING:
    from medvistagym_core.plugins import Listing, Registry

__all__ = ["complete_words", "configure"]

SCRIPTS: Final = {
    "bash": """\
_medvistagym() {
    local found
    mapfile -t found < <("${COMP_WORDS[0]}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=("${found[@]}")
}
complete -o bashdefault -o default -F _medvistagym medvistagym
""",
    "zsh": """\
#compdef medvistagym
_medvistagym() {
    local -a found
    found=(${(f)"$("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -Q -a found; else _files; fi
}
compdef _medvistagym medvistagym
""",
    "fish": """\
function __medvistagym_words
    set -l before (commandline -opc)
    set -l found ($before[1] completion words -- $before[2..-1] (commandline -ct) 2>/dev/null | string match -v '')
    if test (count $found) -gt 0
        string join \\n $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c medvistagym -f -a '(__medvistagym_words)'
""",
}
_EXAMPLE: Final = """\
medvistagym completion bash > ~/.local/share/bash-completion/completions/medvistagym
medvistagym completion zsh >> ~/.zshrc          (after compinit)
medvistagym completion fish > ~/.config/fish/completions/medvistagym.fish"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE)
    parser.add_argument(
        "shell", choices=[*SCRIPTS, "words"], metavar="bash|zsh|fish", help="which shell's script to print"
    )
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="WORD",
        help="what the scripts ask: the words so far, the last one begun",
    )
    parser.set_defaults(execute=_completion)


def _completion(options: argparse.Namespace) -> int:
    if options.shell == "words":
        print_text("\n".join(complete_words(options.words or [""])))
    else:
        print_text(SCRIPTS[options.shell].rstrip())
    return 0


def complete_words(words: list[str]) -> list[str]:
    """What the last word may become, in order; empty where it is a file's name, or anything.

    Args:
        words: The command line after the program's name; the last word is the one that is begun, or empty.
    """
    from medvistagym_core.cli import GROUPS, SUBCOMMANDS, build_parser

    *before, prefix = words
    if not before:
        return _fitting(prefix, [*GROUPS, "--help", "--version"] if prefix.startswith("-") else GROUPS)
    group, *rest = before
    if rest and f"{group} {rest[0]}" in SUBCOMMANDS:
        group, rest = f"{group} {rest[0]}", rest[1:]
    elif group not in GROUPS:
        return []
    parser = build_parser(group)
    commands = next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)  # noqa: SLF001
    if commands is not None:
        if not rest:
            return _fitting(prefix, commands.choices)
        name, *rest = rest
        if name not in commands.choices:
            return []
        parser = commands.choices[name]
        if (group, name) == ("tools", "call") and rest and not rest[0].startswith("-"):
            parser.add_tool_flags(rest)
        elif group == "tools" and name in ("show", "call") and not rest and not prefix.startswith("-"):
            return _fitting(prefix, _tool_names())
        elif (group, name) == ("tasks", "show") and not rest and not prefix.startswith("-"):
            return _fitting(prefix, _list_installed().tasks)
    if prefix.startswith("-"):
        flags = (flag for action in parser._actions for flag in action.option_strings)  # noqa: SLF001
        return _fitting(prefix, (flag for flag in flags if flag[1] == "-"))
    return _values(parser, rest[-1], prefix) if rest and rest[-1].startswith("--") else []


def _values(parser: argparse.ArgumentParser, flag: str, prefix: str) -> list[str]:
    """What may follow a flag."""
    action = next((action for action in parser._actions if flag in action.option_strings), None)  # noqa: SLF001
    if action is None:
        return []
    if flag in ("--tools", "--plugins"):
        head, comma, last = prefix.rpartition(",")
        names = _tool_names() if flag == "--tools" else _list_installed().plugins
        return [f"{head}{comma}{name}" for name in _fitting(last, names)]
    if flag == "--task":
        return _fitting(prefix, _list_installed().tasks)
    if action.choices is not None:
        return _fitting(prefix, map(str, action.choices))
    stated = str(action.metavar or "").split("|")  # a tool's choices, such as lung|bone
    return _fitting(prefix, (word for word in stated if word.islower())) if len(stated) > 1 else []


def _list_installed() -> Listing:
    from medvistagym_core.plugins import load_listing

    return load_listing(_discover)


def _discover() -> Registry:
    from medvistagym_core.plugins import Registry

    return Registry.discover()


def _tool_names() -> list[str]:
    return sorted({tool.name for tool in _list_installed().tools})


def _fitting(prefix: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(prefix)]
