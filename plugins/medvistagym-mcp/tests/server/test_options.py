"""The options of `medvistagym serve`, whose defaults stand in the core, are those of the server."""

from __future__ import annotations

from medvistagym_core.cli import build_parser
from medvistagym_mcp.server import SessionLimits


def test_the_defaults_are_the_limits_of_a_session() -> None:
    options = build_parser("serve").parse_args([])
    assert SessionLimits() == SessionLimits(
        side=options.side,
        picture_format=options.picture_format,
        quality=options.quality,
        result_bytes=options.result_bytes,
        session_bytes=options.memory << 20,
        calls=options.calls,
        sessions=options.sessions,
        idle_s=options.idle * 60,
    )
