"""The stages of a training, each a function of a model and a context: perception, SFT, GRPO, evaluation, the optimiser.

May use the recipe, `model` and `rollout`; writes no run folder.
"""

from medvistagym_trl.stages._collator import ConversationCollator
from medvistagym_trl.stages._episode_reward import EpisodeRewardFunction
from medvistagym_trl.stages._evaluate import decoding_label, decoding_temperatures, evaluate
from medvistagym_trl.stages._example_preview import preview_examples
from medvistagym_trl.stages._exploring_policy import ExploringPolicy
from medvistagym_trl.stages._exploring_turns import ExploringTurns, forget_worse_openings
from medvistagym_trl.stages._grpo import BatchedToolGRPOTrainer, train_grpo
from medvistagym_trl.stages._guarded_trainer import NonFiniteError, whole_checkpoints
from medvistagym_trl.stages._logprob_parity import ModelEngine, ScoringEngine, check_logprobs, choose_rows
from medvistagym_trl.stages._optim import Float32Muon, merger_blocks, newton_schulz
from medvistagym_trl.stages._parity import ParityError
from medvistagym_trl.stages._perception import (
    PerceptionCollator,
    cosine_schedule_with_warmup,
    patch_labels,
    perception_accuracy,
    perception_conversation,
    train_perception,
)
from medvistagym_trl.stages._sampling_engine import SamplingEngine, engine_refusal
from medvistagym_trl.stages._sampling_policy import SamplingPolicy
from medvistagym_trl.stages._sft import train_sft
from medvistagym_trl.stages._token_budget import TokenBudget, measure_tokens
from medvistagym_trl.stages._trl_config import check_trl_settings, make_grpo_config, make_sft_config
from medvistagym_trl.stages._untrained_model import build_untrained_model
from medvistagym_trl.stages._vllm import TOOL_CALL_PARSERS, bound_engine, check_vllm, vllm_mode

__all__ = [
    "TOOL_CALL_PARSERS",
    "BatchedToolGRPOTrainer",
    "ConversationCollator",
    "EpisodeRewardFunction",
    "ExploringPolicy",
    "ExploringTurns",
    "Float32Muon",
    "ModelEngine",
    "NonFiniteError",
    "ParityError",
    "PerceptionCollator",
    "SamplingEngine",
    "SamplingPolicy",
    "ScoringEngine",
    "TokenBudget",
    "bound_engine",
    "build_untrained_model",
    "check_logprobs",
    "check_trl_settings",
    "check_vllm",
    "choose_rows",
    "cosine_schedule_with_warmup",
    "decoding_label",
    "decoding_temperatures",
    "engine_refusal",
    "evaluate",
    "forget_worse_openings",
    "make_grpo_config",
    "make_sft_config",
    "measure_tokens",
    "merger_blocks",
    "newton_schulz",
    "patch_labels",
    "perception_accuracy",
    "perception_conversation",
    "preview_examples",
    "train_grpo",
    "train_perception",
    "train_sft",
    "vllm_mode",
    "whole_checkpoints",
]
