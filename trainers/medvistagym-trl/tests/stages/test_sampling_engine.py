"""What is played outside of GRPO, through a stand-in for TRL's vLLM engine that holds weights of its own.

vLLM itself is run by the tests in `real_vllm/`, which have an environment of their own.
"""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.generation.vllm_generation import VLLMGeneration

from medvistagym_core.rollouts import rollout
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl._recipe import RecipeError
from medvistagym_trl.stages import (
    ModelEngine,
    SamplingEngine,
    SamplingPolicy,
    engine_refusal,
    evaluate,
    train_grpo,
)
from medvistagym_trl.stages._vllm import bias_logits

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

TURNS = ('<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>', "<answer>bright</answer>")


class Engine:
    """What TRL's `VLLMGeneration` is in colocate mode: it expands placeholders, and reports log-probabilities."""

    made: list[Engine]
    stale = False

    def __init__(self, *, model: Any, processing_class: Any, mode: str, max_model_length: int | None, **_: Any) -> None:
        self.made.append(self)
        self.model, self.processing_class, self.mode = model, processing_class, mode
        self.own = copy.deepcopy(model)
        self.synchronised = 0
        self.asked: list[dict[str, Any]] = []
        self.generation_kwargs: dict[str, Any] = {}
        self.structured_outputs_regex = None
        self.temperature, self.top_p, self.top_k, self.min_p, self.repetition_penalty = 0.5, 0.9, 5, 0.1, 1.1
        self.max_completion_length = 16
        config = SimpleNamespace(max_model_len=max_model_length)
        self.llm = SimpleNamespace(llm_engine=SimpleNamespace(model_config=config, reset_encoder_cache=self._forget))
        self.forgot = 0

    def _forget(self) -> None:
        self.forgot += 1
        assert self.forgot == self.synchronised  # after each synchronisation, not before

    def sync_weights(self) -> None:
        self.synchronised += 1
        if not self.stale:
            self.own.load_state_dict(self.model.state_dict(), strict=False)

    def generate(self, prompts: Any, images: Any, num_generations: int, profiler: Any = None) -> Any:
        rules = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, **self.generation_kwargs}
        self.asked.append(rules)
        processor, pad = self.processing_class, self.processing_class.image_token_id
        scorer = ModelEngine(self.own, processor, rules["temperature"] or 1.0)
        written, scores = [], []
        for row, ids in enumerate(prompts):
            shown = images[row] or []
            grids = processor.image_processor(images=shown, return_tensors="pt")["image_grid_thw"]
            sizes = iter((grids.prod(-1) // processor.image_processor.merge_size**2).tolist())
            expanded = [token for each in ids for token in ([pad] * next(sizes) if each == pad else [each])]
            turn = processor.tokenizer(TURNS[len(shown) > 1] + "<|im_end|>")["input_ids"]
            written.append(turn)
            banned = rules["logit_bias"]
            with bias_logits(self.own, banned):
                scores.append([[float(x)] for x in scorer.score(expanded + turn, len(expanded), shown)])
        return prompts, written, scores, None


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """The engines that were made."""
    made: list[Engine] = []
    monkeypatch.setattr(Engine, "made", made, raising=False)
    monkeypatch.setattr("trl.generation.vllm_generation.VLLMGeneration", Engine)
    return made


@pytest.fixture
def through(recipe: Any, tmp_path: Path) -> SimpleNamespace:
    """A recipe whose engine is colocated, the engine, and what it logged."""
    settings = recipe.with_overrides(
        {"trl.grpo": {"use_vllm": True}, "grpo.steps": 1, "grpo.parity.logprobs_every": 1, "evaluation.n": 4}
    )
    logged: list[tuple[str, Any]] = []
    engine = SamplingEngine(settings, lambda _: 2000, tmp_path / "parity", lambda *line: logged.append(line))
    engine.stage = "evaluation-grpo"
    return SimpleNamespace(recipe=settings, engine=engine, logged=logged)


def play(through: Any, model: Any, context: Any, keep: Path, temperature: float | None = 1.0) -> Any:
    rules = through.recipe.evaluation
    return evaluate(context, model, "it", rules, temperature, seed=0, keep=keep, engine=through.engine)


@pytest.mark.parametrize("temperature", [0.7, None])
def test_an_evaluation_goes_through_it_and_is_certified(
    temperature: float | None, through: Any, engines: list[Engine], make_model: Any, context: Any, tmp_path: Path
) -> None:
    model = make_model()
    rows = play(through, model, context, tmp_path / "rows.jsonl", temperature)
    assert (rows[-1].n, rows[-1].calls_per_question) == (4, 1)
    episodes = list(TrajectoryReader(tmp_path / "rows.jsonl"))
    assert [turn.text for turn in episodes[0].turns] == list(TURNS)
    (engine,) = engines
    for asked in engine.asked:
        assert asked["temperature"] == (temperature or 0.0)
        assert asked["logit_bias"] == dict.fromkeys(model.suppressed_tokens, -100.0)
        assert asked["stop_token_ids"] == list(model.end_of_turn)
        assert (asked["top_p"], asked["top_k"], asked["max_tokens"]) == (1.0, 0, through.recipe.evaluation.max_tokens)
    assert (engine.temperature, engine.top_p, engine.generation_kwargs) == (0.5, 0.9, {})  # GRPO's again
    ((phase, line),) = through.logged
    assert phase == "evaluation-grpo-engine"
    assert line["parity/engine_difference"] < 1e-4
    assert line["parity/canary_difference"] > 0


def test_each_policy_is_played_by_its_own_weights_in_one_engine(
    through: Any, engines: list[Engine], make_model: Any, context: Any, tmp_path: Path
) -> None:
    other = make_model()
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    for number, model in enumerate((make_model(), other)):
        play(through, model, context, tmp_path / f"{number}.jsonl")
    assert len(engines) == 1
    assert engines[0].synchronised == 2
    assert [line["step"] for _, line in through.logged] == [1, 2]


def test_weights_that_do_not_reach_it_end_the_evaluation(
    through: Any, engines: list[Engine], make_model: Any, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(through, make_model(), context, tmp_path / "first.jsonl")
    monkeypatch.setattr(Engine, "stale", True)
    other = make_model()
    with torch.no_grad():
        next(other.model.parameters()).mul_(1.5)
    with pytest.raises(
        RuntimeError,
        match=r"evaluation-grpo, rank 0, row \d: the log-probabilities of the model and of the vLLM .* is kept in",
    ):
        play(through, other, context, tmp_path / "second.jsonl")
    kept = torch.load(tmp_path / "parity" / "evaluation-grpo-rank-0.pt", weights_only=True)
    assert len(kept["logprobs"]) == len(kept["written"])
    assert kept["images"]


def test_grpo_and_what_is_played_around_it_share_it(
    through: Any, engines: list[Engine], make_model: Any, context: Any, tmp_path: Path
) -> None:
    """Self-sampling before, validation between the steps, evaluation afterwards."""
    from transformers import TrainerCallback

    model = make_model()

    class Validate(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            with torch.random.fork_rng():
                play(through, model, context, tmp_path / "validation.jsonl")
            model.model.train()

    play(through, model, context, tmp_path / "before.jsonl")
    trainer = train_grpo(
        model, context, through.recipe.with_overrides({"grpo.steps": 2, "grpo.lr": 1e-2, "grpo.warmup_steps": 0}),
        cases=range(4), completion=128, folder=tmp_path, record=lambda episodes: {}, callbacks=[Validate()],
        engine=through.engine,
    )  # fmt: skip
    play(through, model, context, tmp_path / "after.jsonl")
    (engine,) = engines
    assert trainer.vllm_generation is engine
    lines = [line for line in trainer.state.log_history if "parity/rows" in line]
    assert len(lines) == 2
    assert all(line["parity/engine_difference"] < 1e-4 for line in lines)
    assert engine.synchronised == 6  # two steps, two validations, and what came before and after
    sampled = [asked for asked in engine.asked if asked["temperature"] == through.recipe.grpo.temperature]
    assert sampled
    assert all(set(asked["logit_bias"]) == set(model.suppressed_tokens) for asked in sampled)


def test_a_conversation_that_does_not_fit_is_a_sentence(
    through: Any, engines: list[Engine], make_model: Any, context: Any, tmp_path: Path
) -> None:
    through.engine._conversation = lambda _: 20
    with pytest.raises(
        RuntimeError, match=r"of \d+ tokens does not fit into vLLM, which reads 20: set a larger trl\.grpo"
    ):
        play(through, make_model(), context, tmp_path / "rows.jsonl")


class Server(Engine):
    """The same with TRL's client of a server, which is asked for each row on its own."""

    _place_features = VLLMGeneration._place_features
    logprobs_mode = "processed_logprobs"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "max_model_length": None})
        self.accelerator = settings["accelerator"]
        self.lock = threading.Lock()
        info = {"model_config": {"logprobs_mode": self.logprobs_mode, "max_model_len": 200}}
        answer = SimpleNamespace(status_code=200)
        session = SimpleNamespace(post=lambda url, timeout: (self._forget(), answer)[1])
        self.vllm_client = SimpleNamespace(
            base_url="http://host:8000", session=session, get_server_info=lambda: info,
            image_features=lambda images: [{"mm_placeholders": {"image": shown}} for shown in images],
            generate=self.complete,
        )  # fmt: skip

    def complete(self, prompts: Any, features: Any, max_tokens: int, generation_kwargs: Any) -> Any:
        (ids,), pad = prompts, self.processing_class.image_token_id
        shown = [int(place["length"]) for place in features[0]["mm_placeholders"]["image"]]
        assert sum(shown) == ids.count(pad)
        turn = self.processing_class.tokenizer(TURNS[len(shown) > 1] + "<|im_end|>")["input_ids"]
        with self.lock:
            self.asked.append({"max_tokens": max_tokens, "length": len(ids), **generation_kwargs})
        return {"completion_ids": [turn], "logprobs": [[[None]] * len(turn)]}


@pytest.fixture
def served(through: Any, engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("trl.generation.vllm_generation.VLLMGeneration", Server)
    fields = {"use_vllm": True, "vllm_mode": "server"}
    through.engine._recipe = through.recipe.with_overrides({"trl.grpo": fields, "evaluation.max_tokens": 190})
    return through


def test_a_server_is_asked_for_each_row_with_a_seed_of_its_own(
    served: Any, engines: list[Engine], make_model: Any, context: Any
) -> None:
    policy = SamplingPolicy(
        make_model(), context.rendered_schemas, context.config.protocol, temperature=1.0, max_tokens=190,
        engine=served.engine,
    )  # fmt: skip
    played = list(rollout(policy, context.task, context.toolbox, "test", [0], context.config, samples=3))
    assert [len(each.turns) for each in played] == [2, 2, 2]
    asked = engines[0].asked
    assert len({each["seed"] for each in asked}) == len(asked) == 6
    assert all(each["max_tokens"] == min(190, 200 - each["length"]) for each in asked)


def test_a_server_that_reports_other_log_probabilities_is_refused(
    served: Any, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "logprobs_mode", "raw_logprobs")
    with pytest.raises(
        RecipeError, match=r"the vLLM server at http://host:8000 reports raw_logprobs, .*: start it with"
    ):
        served.engine.load(make_model())


@pytest.mark.parametrize(
    ("changes", "where", "reason"),
    [
        ({}, {}, None),
        ({}, {"beside": True}, "the first process's"),
        ({}, {"sharded": True}, "ranks that share weights"),
        ({"trl.grpo.vllm_tensor_parallel_size": 2}, {}, "vllm_tensor_parallel_size"),
        ({"trl.grpo.vllm_tensor_parallel_size": 2, "trl.grpo.vllm_mode": "server"}, {}, None),
        ({"model.quantization": "4bit", "model.lora.rank": 4}, {}, "quantised weights"),
    ],
)
def test_what_cannot_go_through_it_is_said(changes: Any, where: Any, reason: str | None, through: Any) -> None:
    found = engine_refusal(through.recipe.with_overrides({"model.path": "checkpoint", **changes}), **where)
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_a_run_evaluates_through_it_and_its_card_says_so(
    engines: list[Engine], recipe: Any, task: Any, toolbox: Any, registry: Any, model: Any, tmp_path: Path
) -> None:
    from medvistagym_trl.run import RunFolder, TrainingPipeline

    changes = {"trl.grpo": {"use_vllm": True}, "evaluation.policies": ["grpo"], "comparison.policies": []}
    folder = RunFolder.begin(tmp_path / "run", recipe.with_overrides(changes), toolbox)
    folder.save("grpo", model)
    pipeline = TrainingPipeline(folder, task, registry)
    pipeline.setup.engine.stage = "evaluation-grpo"
    pipeline.evaluation("grpo")
    pipeline.report()
    pipeline.close()
    assert len(engines) == 1
    lines = [line for line in folder.metrics() if line["phase"] == "evaluation-grpo-engine"]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert "in 3 checks, one whenever it was given weights to play" in (tmp_path / "run" / "README.md").read_text(
        "utf-8"
    )


def test_a_run_that_plays_with_transformers_all_the_same_says_why_in_a_line(
    recipe: Any, task: Any, toolbox: Any, registry: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medvistagym_trl.run import RunFolder, TrainingPipeline

    settings = recipe.with_overrides({"trl.grpo": {"use_vllm": True, "vllm_tensor_parallel_size": 2}})
    pipeline = TrainingPipeline(RunFolder.begin(tmp_path / "run", settings, toolbox), task, registry)
    pipeline.close()
    assert pipeline.setup.engine is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "evaluation, validation and self-sampling use transformers: an engine that several ranks share" in line
