"""The stages of a training: perception, SFT, GRPO."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medvistagym_trl._recipe._section import Section

Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr", "inverse_sqrt"]


class PerceptionRecipe(Section):
    """Warm-up of the tiny model on single images with dense supervision. 0 steps skips it."""

    steps: int = Field(550, ge=0, description="Optimiser steps.")
    batch: int = Field(32, ge=1, description="Items a step.")
    matrix_lr: float = Field(4e-3, description="Learning rate of Muon (matrices).")
    other_lr: float = Field(2e-3, description="Learning rate of AdamW (embeddings, vectors).")
    weight_decay: float = Field(0.01, description="Decoupled weight decay of both.")
    unclear_cells: float = Field(0.2, description="Share of an image's patches that are supervised as background.")
    result_steps: int = Field(
        0,
        ge=0,
        description="Further steps, in which items are also read where a tool's result stands: the question comes with another "
        "item's picture, the item's own after it, and no call between them. SFT goes on with such items (`sft.looks`).",
    )
    as_results: float = Field(
        0.75, ge=0, le=1, description="Share of the items that are read so, where `result_steps` is not 0."
    )
    further: bool = Field(
        False,
        description="Whether a tiny model that is given by its folder is warmed up further, by these steps on the items of the "
        "task; else it is taken as it is.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of the warm-up, which the second process of a run waits for; None: those of the recipe.",
    )


class ValidationRecipe(Section):
    """Validation while training: episodes of a held-out split, played by the policy as it is."""

    every: int = Field(0, ge=0, description="Steps between validations; 0 for none.")
    n: int = Field(128, ge=1, description="Cases.")
    split: str = Field("validation", description="Split of the cases.")
    decoding: Literal["trained", "t1", "greedy", "both"] = Field(
        "greedy",
        description="How turns are drawn: at the temperature of training, at 1, greedily; or both, at the temperature of "
        "training and greedily. Validations are ranked by what they gain over the first one; of both decodings, by the smaller "
        "gain, and by the larger where that is the same.",
    )
    start: bool = Field(
        False,
        description="Validate before the first step as well, so that with `keep_best` a stage ends with no policy that "
        "validates worse than the one it began with (with `decoding: both`, in neither decoding), and says so where it keeps "
        "that one.",
    )
    keep_best: bool = Field(True, description="End with the weights of the best validation, not of the last step.")
    patience: int = Field(
        0, ge=0, description="Stop after as many validations without a better accuracy; 0 goes on to the last step."
    )


class DataFilter(Section):
    """Which of the trajectories given are learnt from. What is left out is counted, with the reason."""

    splits: tuple[str, ...] = Field(("train",), description="Splits whose cases may be learnt from.")
    correct: bool = Field(True, description="Only episodes whose answer is right.")
    well_formed: bool = Field(
        True, description="Only episodes whose every turn is written exactly as the recipe's format wants it."
    )
    min_calls: int = Field(0, ge=0, description="Least tool calls of an episode.")
    max_calls: int | None = Field(None, ge=0, description="Most tool calls of an episode; None for any number.")
    failed_calls: bool = Field(True, description="Whether episodes with a call that failed may be learnt from.")
    max_tokens: int | None = Field(
        None, ge=1, description="Longest conversation in the model's tokens, prompt and images included; None for any."
    )
    per_question: int | None = Field(
        None, ge=1, description="Most trajectories of one question, those with fewest calls first; None for all."
    )
    min_pass_rate: float = Field(0.0, ge=0, le=1, description="Least share of right answers to a question.")
    max_pass_rate: float = Field(1.0, ge=0, le=1, description="Largest share of right answers to a question.")
    limit: int | None = Field(
        None, ge=1, description="Most trajectories, those first in the files; None for all that pass."
    )
    weights: Literal["trajectory", "question", "hard_question"] = Field(
        "trajectory",
        description="What is drawn equally often: each trajectory; each question; or a question in proportion to 1 - its pass "
        "rate (0.1 at least), so that hard ones count more.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_calls is not None and self.min_calls > self.max_calls:
            raise ValueError(f"min_calls {self.min_calls} is more than max_calls {self.max_calls}")
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"min_pass_rate {self.min_pass_rate} is more than max_pass_rate {self.max_pass_rate}")
        return self


class ExplorationRecipe(Section):
    """Trajectory sampling without a teacher: tools are tried on training cases, and episodes that end right are learnt from.

    Which tools are called is drawn, and so is how often; the tiny model as its warm-up left it aims the calls and reads what
    they return.
    """

    cases: int = Field(256, ge=1, description="Training cases.")
    samples: int = Field(8, ge=1, description="Episodes of each case.")
    temperature: float = Field(1.0, gt=0, description="Temperature at which the model aims and reads.")
    spread: float = Field(
        1.0,
        ge=1,
        description="Aimed numbers that a tool's schema wants above 0, such as a width, are divided by this, kept or "
        "multiplied by it, each as often; 1 leaves them as the model says them.",
    )
    while_unclear: bool = Field(
        False,
        description="An episode goes on, up to `episode.max_calls`, while the model answers what came last with the task's "
        "abstention; otherwise how many calls it makes is drawn.",
    )


class SelfSamplingRecipe(Section):
    """Rejection sampling: the policy plays training cases, and learns from its own episodes that pass `sft.filter`."""

    rounds: int = Field(0, ge=0, description="Rounds of sampling and learning after the first SFT; 0 for none.")
    cases: int = Field(256, ge=1, description="Training cases a round.")
    samples: int = Field(8, ge=1, description="Episodes of each case.")
    temperature: float = Field(0.7, gt=0, description="Sampling temperature.")
    steps: int = Field(60, ge=1, description="Optimiser steps a round.")


class SftRecipe(Section):
    """Supervised fine-tuning on trajectories. 0 steps skips it."""

    data: tuple[str, ...] = Field(
        (),
        description="Trajectory files, folders of them, or folders saved by `datasets`; without any, the task demonstrates.",
    )
    filter: DataFilter = Field(DataFilter(), description="Which trajectories of `data` are learnt from.")
    source: Literal["demonstrations", "expert", "exploration", "call_format"] = Field(
        "demonstrations",
        description="Where trajectories come from without `data`: the task's demonstrations, which know the truth; its "
        "scripted expert; `exploration`; or random calls that say nothing of their use, before the right answer.",
    )
    exploration: ExplorationRecipe = Field(
        ExplorationRecipe(),
        description="Trajectory sampling, where `source` is exploration; `filter` counts for it too.",
    )
    observations: Literal["auto", "recorded", "replayed"] = Field(
        "auto",
        description="What the policy reads of a trajectory: as it was recorded, or as its calls give it when they are made "
        "again under this recipe's prompt, sizes and limits; auto replays what was recorded in another form.",
    )
    self_sampling: SelfSamplingRecipe = Field(SelfSamplingRecipe(), description="Rounds of rejection sampling.")

    steps: int | None = Field(180, ge=0, description="Optimiser steps; None where `epochs` says how many.")
    epochs: float | None = Field(None, gt=0, description="Passes over `data`, in place of `steps`.")
    batch: int = Field(48, ge=1, description="Conversations a step.")
    parts: int = Field(
        1, ge=1, description="Parts that a step's conversations are learnt from in turn, to save memory."
    )
    optimizer: Literal["auto", "muon", "adamw"] = Field(
        "auto", description="Muon in float32 (auto for the tiny model) or AdamW (auto for checkpoints)."
    )
    matrix_lr: float = Field(2e-3, description="Muon: learning rate of matrices.")
    other_lr: float = Field(1e-3, description="Muon: learning rate of AdamW for embeddings and vectors.")
    lr: float = Field(1e-5, gt=0, description="AdamW: learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW: decoupled weight decay.")
    schedule: Schedule = Field("cosine", description="AdamW: learning rate over the steps.")
    warmup_steps: float = Field(0.03, ge=0, description="AdamW: steps of linear warm-up; below 1 a share of all steps.")
    save_every: int = Field(0, ge=0, description="Steps between checkpoints; 0 for none before the end.")
    validation: ValidationRecipe = Field(ValidationRecipe(), description="Validation while training.")
    show_examples: int = Field(2, ge=0, description="Rendered conversations shown before the first step.")

    looks: float = Field(
        0.33, ge=0, le=1, description="Share of perception items in a batch, against forgetting to see."
    )
    hesitation: float = Field(
        0.5, ge=0, le=1, description="Share of demonstrations that give up where they would make their first call."
    )
    skill: float = Field(0.5, ge=0, le=1, description="Share of demonstrations that make the informative call.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs, and null for the other")
        if self.batch % self.parts:
            raise ValueError(f"batch {self.batch} is not a multiple of parts {self.parts}")
        if self.data and self.steps == 0:
            raise ValueError("data is given and steps is 0: nothing would be learnt from it")
        return self


class TailCurriculumRecipe(Section):
    """More GRPO on the cases that the policy answers rarely but not never (VISTA-Gym's tail curriculum)."""

    steps: int = Field(0, ge=0, description="Steps of GRPO on those cases, after the others; 0 for none.")
    candidates: int = Field(512, ge=1, description="Training cases whose pass rate is measured.")
    min_pass_rate: float = Field(0.125, ge=0, le=1, description="Least share of right answers in a group.")
    max_pass_rate: float = Field(0.375, ge=0, le=1, description="Largest share of right answers in a group.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"min_pass_rate {self.min_pass_rate} is more than max_pass_rate {self.max_pass_rate}")
        return self


class WatchRecipe(Section):
    """What reinforcement learning of tool users is known to drift into: when it is reported, and what is done about it.

    Means over the last ten steps are compared; each trend is reported once.
    """

    action: Literal["warn", "lower_rate", "penalise", "restore_best", "stop"] = Field(
        "warn",
        description="What follows a report: nothing else; half the learning rate from then on; a penalty on the episodes that "
        "show it (long turns, no call, turns that cannot be read, calls made again, no answer but 'I cannot tell'; others "
        "are only reported); the weights of the best validation so far, with a fresh optimiser; or the end of the stage.",
    )
    penalty: float = Field(0.25, gt=0, description="What penalise takes from the reward of an episode, for each trend.")
    max_length_growth: float = Field(2.0, gt=1, description="How many times longer than at first turns may become.")
    min_tool_use: float = Field(
        0.2, ge=0, lt=1, description="Share of the most calls an episode that calls may fall to."
    )
    max_lost_results: float = Field(
        0.05, ge=0, le=1, description="Share of a step's episodes whose last result did not fit."
    )
    max_malformed: float = Field(0.5, ge=0, description="Turns an episode that could not be read.")
    max_repeats: float = Field(
        0.5, ge=0, description="Calls an episode that the same episode had made before, with the same arguments."
    )
    max_abstained: float = Field(0.5, ge=0, le=1, description="Share of episodes whose answer says 'I cannot tell'.")
    max_zero_variance: float = Field(
        0.9, ge=0, le=1, description="Share of groups whose episodes all earned the same, from which nothing is learnt."
    )
    min_entropy: float = Field(0.1, ge=0, lt=1, description="Share of the first steps' entropy that it may fall to.")
    max_clipped: float = Field(0.3, ge=0, le=1, description="Share of tokens whose ratio was clipped.")


class ParityRecipe(Section):
    """The parity certificate: that GRPO trains on what the policy read and wrote. A difference stops the run."""

    inputs: bool = Field(
        True,
        description="Whether tokens, images, their order, grids and placeholders are compared at every step, on every rank.",
    )
    logprobs_every: int = Field(
        25,
        ge=0,
        description="Steps between full checks, the first step included: log-probabilities against an independent forward "
        "pass, a canary image, the weights of all ranks; 0 for none.",
    )
    rows: int = Field(2, ge=1, description="Rollouts of a step and rank whose log-probabilities are compared.")
    max_logprob_difference: float | None = Field(
        None,
        gt=0,
        description="Largest mean difference of a rollout's log-probabilities, nats a token. None: 1e-3 in float32, 0.05 in "
        "half precision.",
    )


class GrpoRecipe(Section):
    """Reinforcement learning. 0 steps skips it."""

    steps: int = Field(110, ge=0, description="Optimiser steps.")
    completions: int = Field(128, ge=2, description="Rollouts a step.")
    parts: int = Field(4, ge=1, description="Parts that a step's rollouts are learnt from in turn, to save memory.")
    generation_parts: int = Field(
        1,
        ge=1,
        description="Parts that a step's rollouts are sampled in, one after the other, to save memory for keys and values. "
        "Where transformers samples.",
    )
    group: int = Field(8, ge=2, description="Rollouts of one case, the group that is compared.")
    lr: float = Field(2e-4, gt=0, description="Learning rate of AdamW.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    schedule: Schedule = Field("linear", description="Learning rate over the steps.")
    warmup_steps: float = Field(5, ge=0, description="Steps of linear warm-up; below 1 a share of all steps.")
    temperature: float = Field(0.5, gt=0, description="Sampling temperature while training.")
    beta: float = Field(0.0, ge=0, description="Weight of the divergence from the policy that RL started from.")
    max_completion: int | None = Field(
        128,
        ge=1,
        description="Tokens of a completion: turns, and the texts and images that tools returned. None measures what an "
        "episode with all its calls takes.",
    )
    max_turn_tokens: int = Field(
        512, ge=1, description="Most tokens that the policy writes in one turn, where max_completion is measured."
    )
    save_every: int = Field(25, ge=1, description="Steps between checkpoints.")
    scale: Literal["group", "batch", "none"] = Field(
        "batch",
        description="What advantages are divided by: the spread of rewards in a group, in the batch, or nothing. By group, "
        "the little that a superfluous call costs weighs as much as a right answer.",
    )
    zero_variance: Literal["keep", "skip", "drop", "redraw"] = Field(
        "keep",
        description="What becomes of groups whose episodes all earned the same: kept, their tokens count in the mean of the "
        "loss and their divergence (beta) is learnt from; skipped, their tokens count in the mean, so that a step moves less "
        "the fewer groups it rests on, and no more is learnt from them (with a trl.grpo.loss_type of dapo, cispo or vespo, "
        "which take a mean over all tokens of a step); dropped, they count nothing at all. A single process does not compute "
        "what it skips or drops, so that steps become quicker the more a policy can. Drawn again, other cases are played in "
        "their place, and groups that are equal even then are dropped. Metrics of the step are of the episodes that are learnt "
        "from, its seconds and tokens of all that were played.",
    )
    redraws: int = Field(
        2, ge=1, description="How often a group is drawn again at most, where zero_variance is redraw."
    )
    exploration: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the episodes whose first turn begins as a call of a tool drawn at random: its name, the picture "
        "and the key of what its schema requires next, to which the policy gives the value. So a tiny model tries tools that "
        "came after its SFT. Of what was drawn is learnt only where the episode did better than the mean of its group; metrics "
        "leave these episodes out.",
    )
    exploration_steps: int = Field(
        0, ge=0, description="Steps over which `exploration` falls to 0, linearly; 0 keeps it to the end."
    )
    looks: int = Field(
        0,
        ge=0,
        description="Perception items that a step learns from beside its episodes, against forgetting to see; where the model "
        "is the tiny one and the task offers them.",
    )
    watch: WatchRecipe = Field(WatchRecipe(), description="Trends that are watched.")
    parity: ParityRecipe = Field(ParityRecipe(), description="The parity certificate.")
    tail: TailCurriculumRecipe = Field(TailCurriculumRecipe(), description="Tail curriculum.")
    validation: ValidationRecipe = Field(ValidationRecipe(), description="Validation while training.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, value in (("group", self.group), ("parts", self.parts), ("generation_parts", self.generation_parts)):
            if self.completions % value:
                near = max(value, self.completions // value * value)
                raise ValueError(
                    f"{self.completions} completions cannot be split evenly with {name} {value}; {near} can"
                )
        if self.exploration and self.generation_parts > 1:
            raise ValueError("exploration draws the turns of all rows at once: set generation_parts to 1")
        if self.exploration and self.zero_variance == "redraw":
            raise ValueError(
                "exploration draws the turns of all rows at once: set zero_variance to drop, not to redraw"
            )
        if self.watch.action == "restore_best" and not (self.validation.every and self.validation.keep_best):
            raise ValueError("watch.action restore_best needs validations that keep the best: set validation.every")
        return self
