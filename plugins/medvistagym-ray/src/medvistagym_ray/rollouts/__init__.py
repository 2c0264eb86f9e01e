"""Episodes played by many processes, kept by one.

Uses the core's `rollouts` and below, `cluster` and `workers`; imports Ray.
"""

from __future__ import annotations

from medvistagym_ray.rollouts._episode_worker import OpenPlayers, Players, PlayersRecord
from medvistagym_ray.rollouts._episode_workers import EpisodeWorkers, EpisodeWorkersLostError

__all__ = ["EpisodeWorkers", "EpisodeWorkersLostError", "OpenPlayers", "Players", "PlayersRecord"]
