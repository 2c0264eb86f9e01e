"""Episodes of the core as a trainer plays them: TRL's environment, batched tool calls, demonstrations, the shared context.

May use the recipe and the core; imports no torch, so that the schemas of a toolbox can be listed without it.
"""

from medvistagym_trl.rollout._batched_tool_calls import BatchedToolCalls
from medvistagym_trl.rollout._compact_schemas import render_compact
from medvistagym_trl.rollout._context import (
    NativeProtocol,
    RolloutContext,
    locate_case,
    make_episode_config,
    make_rollout_context,
    make_toolbox,
    parse_reward,
    training_cases,
)
from medvistagym_trl.rollout._corpus import sample_corpus
from medvistagym_trl.rollout._demonstrations import (
    DemonstrationFactory,
    run_demonstration,
    with_early_abstention,
    with_random_first_call,
    write_demonstrations,
)
from medvistagym_trl.rollout._example_sources import (
    ConversationSource,
    DemonstrationSource,
    RecordedSource,
    conversation_of,
    refusal_of,
    replay_turns,
)
from medvistagym_trl.rollout._mixed_task import MixedTask, mix_tasks
from medvistagym_trl.rollout._trajectory_data import DataReport, TrajectoryData
from medvistagym_trl.rollout._trajectory_files import PictureLoader, TrajectoryFile, find_trajectory_files, tools_called
from medvistagym_trl.rollout._trl_environment import (
    EpisodeAdapter,
    ToolEnvironment,
    make_environment_class,
    to_protocol_message,
    tool_methods,
)

__all__ = [
    "BatchedToolCalls",
    "ConversationSource",
    "DataReport",
    "DemonstrationFactory",
    "DemonstrationSource",
    "EpisodeAdapter",
    "MixedTask",
    "NativeProtocol",
    "PictureLoader",
    "RecordedSource",
    "RolloutContext",
    "ToolEnvironment",
    "TrajectoryData",
    "TrajectoryFile",
    "conversation_of",
    "find_trajectory_files",
    "locate_case",
    "make_environment_class",
    "make_episode_config",
    "make_rollout_context",
    "make_toolbox",
    "mix_tasks",
    "parse_reward",
    "refusal_of",
    "render_compact",
    "replay_turns",
    "run_demonstration",
    "sample_corpus",
    "to_protocol_message",
    "tool_methods",
    "tools_called",
    "training_cases",
    "with_early_abstention",
    "with_random_first_call",
    "write_demonstrations",
]
