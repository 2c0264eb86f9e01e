"""Serving a page until Ctrl-C, for `view` and `play`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError

if TYPE_CHECKING:
    from medvistagym_core.pages import LoopbackServer


__all__ = ["add_page_options", "check_port", "serve_page"]


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a page is served."""
    parser.add_argument(
        "--port", metavar="N", type=int, default=0, help="port on 127.0.0.1 (default: any that is free)"
    )
    parser.add_argument("--open", action="store_true", help="open it in the browser of this machine")


def check_port(options: argparse.Namespace) -> None:
    """Refuse what is no port.

    Raises:
        UsageError: It is out of range.
    """
    if not 0 <= options.port < 65536:
        raise UsageError(f"--port is a number from 0 to 65535, not {options.port}")


def serve_page(make: Callable[[], LoopbackServer], options: argparse.Namespace, notice: str) -> None:
    """Print the address of a page and serve it until Ctrl-C.

    Args:
        make: Binds the port.
        options: With `port`, `open` and `json`.
        notice: What whoever has the address can do.

    Raises:
        CommandError: The port is taken.
    """
    try:
        server = make()
    except OSError as error:
        what = error.strerror or error
        raise CommandError(
            f"port {options.port} cannot be had ({what}); without --port any that is free is taken"
        ) from error
    with server as page:
        if options.json:
            print_json({"url": page.url})
        else:
            print_text(page.url)
        sys.stdout.flush()
        print_stderr(f"Ctrl-C stops it. {notice}")
        if options.open:
            import webbrowser

            webbrowser.open(page.url)
        try:
            page.wait()
        except KeyboardInterrupt:
            print_stderr("")
