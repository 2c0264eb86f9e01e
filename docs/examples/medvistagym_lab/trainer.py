"""A trainer: trains a policy on a task, leaves everything in a run folder, and opens what it trained.

medvistagym train --trainer lab_frequent --task lab_quadrants --run runs/frequent
medvistagym eval --trainer lab_frequent --model runs/frequent --task lab_quadrants
"""

import collections
import dataclasses
import json
from pathlib import Path

from medvistagym_core import hookimpl


class Frequent:
    """A policy that gives the answer which was right most often."""

    def __init__(self, answer, protocol):
        self.name, self.sampling = "lab_frequent", {}
        self._turn = protocol.format_turn("I have seen this before.", answer=answer)

    def act(self, observations):
        return [self._turn] * len(observations)


class FrequentTrainer:
    """Counts answers. Tasks, reward terms, graders and executors come from the registry, whoever brings them."""

    name = "lab_frequent"
    description = "Learns which answer is right most often."

    def recipes(self):
        return {"count": "Counts 32 answers of the train split."}

    def tool_schemas(self, toolbox):
        return toolbox.schemas("huggingface")

    def train(self, registry, *, run, recipe=None, changes=None, tools=None, model=None, quick=False, resume=False):
        from medvistagym_core.environment import EpisodeConfig, Reward
        from medvistagym_core.environment.grading import with_builtin_graders
        from medvistagym_core.plugins import SelectionError
        from medvistagym_core.rollouts import rollout
        from medvistagym_core.trajectories import Results, summarize

        settings = {"task": "lab_quadrants", "cases": 8 if quick else 32, "reward": "scout", "executor": "local"}
        if recipe not in (None, "count"):
            raise SelectionError(f"there is no recipe {recipe!r}; there is: count")
        if unknown := set(changes or {}) - {*settings, "seed"}:
            raise SelectionError(f"there is no setting {unknown.pop()!r}; the settings are {', '.join(settings)}")
        settings.update(changes or {})
        task = registry.task(settings["task"])
        toolbox = registry.toolbox(",".join(task.tools) if tools is None else tools)
        config = EpisodeConfig(
            reward=Reward.parse(settings["reward"], terms=registry.rewards),
            graders=with_builtin_graders(registry.graders),
        )
        answers = [task.case("train", index).answer.value for index in range(settings["cases"])]
        (answer, _), *_ = collections.Counter(answers).most_common()
        (Path(run) / "policy.json").write_text(json.dumps({"answer": answer}), "utf-8")
        executor = registry.executor(settings["executor"])(toolbox)
        try:
            policy = Frequent(answer, config.protocol)
            played = list(rollout(policy, task, toolbox, "test", range(settings["cases"]), config, executor=executor))
        finally:
            executor.close()
        rows = summarize(played, policy.name, "scripted", task.families, with_reward=True)
        results = Results(task=task.name, split="test", seed=0, rows=tuple(rows))
        results.save(Path(run) / "results.json")
        return results

    def load_policy(self, registry, path, task, toolbox, *, temperature=None, seed=0):
        from medvistagym_core.environment import EpisodeConfig
        from medvistagym_core.environment.grading import with_builtin_graders

        config = dataclasses.replace(EpisodeConfig(), graders=with_builtin_graders(registry.graders))
        file = Path(path) / "policy.json"
        if not file.is_file():
            raise ValueError(f"{path} holds no policy of {self.name}")
        return Frequent(json.loads(file.read_text("utf-8"))["answer"], config.protocol), config


@hookimpl
def medvistagym_trainers():
    return [FrequentTrainer()]
