"""What follows `ray:` in `--executor ray:...`: which Ray, which pool of workers in it, and how tools are placed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode

from medvistagym_core.tools import closest_match

_POOL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_OPTIONS: Final = ("pool", "placement")
_FORM: Final = "[HOST:PORT][?pool=NAME&placement=FILE]"
PRIVATE_PREFIX: Final = "job-"
"""Pools named so belong to one program and end with it."""


@dataclasses.dataclass(frozen=True)
class RayTarget:
    """Where tools run.

    Attributes:
        address: `HOST:PORT` of the head node of a cluster that this machine is part of, or "auto" for the Ray that runs on this
            machine; None for the one that the variable RAY_ADDRESS names, and if it names none, a Ray of its own.
        pool: Name of the workers, which others may use too and which stay when this program ends; None for workers of its own.
        placement: The placement file.
    """

    address: str | None = None
    pool: str | None = None
    placement: Path | None = None

    @classmethod
    def parse(cls, text: str) -> RayTarget:
        """The target that a text says.

        Raises:
            ValueError: It says none.
        """
        address, _, query = text.partition("?")
        options: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in _OPTIONS or not value or name in options:
                near = closest_match(name, _OPTIONS)
                guess = f"; did you mean {near}?" if near and near != name else ""
                raise ValueError(f"{name}={value} is no option of ray{guess} It takes {_FORM}")
            options[name] = value
        pool = options.get("pool")
        if pool is not None and not _POOL_NAME.fullmatch(pool):
            raise ValueError(
                f"the pool {pool!r} is no name: a lower-case letter, then letters, digits, - or _, 64 at most"
            )
        placement = options.get("placement")
        return cls(_check_address(address), pool, None if placement is None else Path(placement))

    def __str__(self) -> str:
        options = {"pool": self.pool, "placement": None if self.placement is None else str(self.placement)}
        query = urlencode({name: value for name, value in options.items() if value is not None}, safe="/")
        return (self.address or "") + (f"?{query}" if query else "")


def _check_address(text: str) -> str | None:
    if text in ("", "auto"):
        return text or None
    if text.startswith("ray://"):
        raise ValueError(
            f"{text} is the address of a Ray Client server: run on a machine of the cluster, and give the address of its "
            "head node, such as 10.0.0.1:6379"
        )
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no address of Ray: it takes {_FORM}, such as 10.0.0.1:6379, or auto")
    return text
