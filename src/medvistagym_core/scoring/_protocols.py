"""The protocols that come with the core, by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from medvistagym_core.scoring._gaze import GazeProtocol
from medvistagym_core.scoring._llava_med import LlavaMedProtocol
from medvistagym_core.scoring._lmms_eval import LmmsEvalProtocol
from medvistagym_core.scoring._medevalkit import MedevalkitProtocol
from medvistagym_core.scoring._medvlthinker import MedvlthinkerProtocol
from medvistagym_core.scoring._mmmu import MmmuProtocol
from medvistagym_core.scoring._protocol import ScoringProtocol
from medvistagym_core.scoring._strict import StrictProtocol

_PROTOCOLS: Final[tuple[ScoringProtocol, ...]] = (
    StrictProtocol(),
    LlavaMedProtocol(),
    LlavaMedProtocol(as_published=True),
    MedevalkitProtocol(),
    MedevalkitProtocol(as_published=True),
    MedvlthinkerProtocol(),
    LmmsEvalProtocol(),
    LmmsEvalProtocol(as_published=True),
    MmmuProtocol(),
    MmmuProtocol(as_published=True),
    GazeProtocol(),
)
PROTOCOLS: Final[Mapping[str, ScoringProtocol]] = {protocol.name: protocol for protocol in _PROTOCOLS}
"""The built-in scoring protocols by name."""


def find_protocol(name: str, protocols: Mapping[str, ScoringProtocol] = PROTOCOLS) -> ScoringProtocol:
    """The protocol of that name.

    Args:
        name: Its name, with `@as-published` for the variant that keeps known faults.
        protocols: Where to look.

    Raises:
        ValueError: There is none; says which there are, and which is the nearest.
    """
    if name in protocols:
        return protocols[name]
    base, _, variant = name.partition("@")
    if variant and base in protocols:
        reason = (
            f"{base} has no known faults to keep: use {base!r}"
            if variant == "as-published"
            else "the variant is 'as-published'"
        )
        raise ValueError(f"there is no scoring protocol {name!r}; {reason}")
    nearest = difflib.get_close_matches(name, protocols, n=1, cutoff=0.4)
    hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
    raise ValueError(f"there is no scoring protocol {name!r}{hint}; there are {', '.join(protocols)}")
