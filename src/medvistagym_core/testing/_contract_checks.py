"""Checks of what a plugin offers besides tools: whether it does what its contract says when it is really used.

What is checked is typed `Any`: whether it is what its contract says is the question.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import Answer, Case, Episode, EpisodeConfig, EpisodeOutcome, MissingDataError
from medvistagym_core.environment.grading import Grade, grade, with_builtin_graders
from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import Turn
from medvistagym_core.testing._file_checks import check_reader, check_segmenter, check_writer
from medvistagym_core.testing._finding import PASS, Finding, Say, several
from medvistagym_core.testing._sample_images import image_snapshot
from medvistagym_core.testing._toy_task import TOY_CALLS, TOY_TOOLBOX, ToyTask
from medvistagym_core.tools import ToolCall, ToolError, ToolResult

if TYPE_CHECKING:
    from medvistagym_core.environment.grading import Grader
    from medvistagym_core.plugins import LoadedPlugin

_INDICES: Final = (0, 1, 7)
_VALUES: Final = ("yes", "3", "left lung", "a; b", "[0, 0, 10, 10]", "B")
_HOSTILE: Final = (
    "",
    "<tool_call>",
    "</answer>",
    "<think>",
    "{" * 500,
    "\ud800",
    "0" * 20_000,
    "<answer></answer>",
    "\x00",
)
_START_S: Final = 120.0


def contract_check(kind: str, name: str, thing: Any, offer: LoadedPlugin, say: Say) -> Finding:
    """Whether a thing does what its contract says.

    Args:
        kind: One of the kinds of contributions, such as "tasks".
        name: Its name.
        thing: What the hook gave.
        offer: All that its plugin offers.
        say: Told what is tried.
    """
    say(f"{kind} {name}", _START_S)
    checks: Mapping[str, Callable[[], Finding]] = {
        "tasks": lambda: check_task(thing, {**Registry.discover().graders, **offer.contributions.get("graders", {})}),
        "rewards": lambda: check_reward(thing),
        "graders": lambda: check_grader(name, thing),
        "readers": lambda: check_reader(thing),
        "writers": lambda: check_writer(thing),
        "segmenters": lambda: check_segmenter(thing),
        "executors": lambda: check_executor(thing),
        "trainers": lambda: check_trainer(thing),
        "policies": lambda: check_policy(thing),
        "action_formats": lambda: check_action_format(thing),
        "dialects": lambda: check_dialect(thing),
    }
    try:
        return checks[kind]()
    except MissingDataError as error:
        return Finding("SKIP", " ".join(str(error).split())[:300])
    except (Exception, SystemExit) as error:  # noqa: BLE001 the author's code, in a place that may not raise
        return Finding("FAIL", f"it raises {type(error).__name__}: {' '.join(str(error).split())[:200]}")


# -- tasks


def check_task(task: Any, graders: Mapping[str, Grader]) -> Finding:
    """Says what it is in plain text, and deals the same sound cases every time."""
    faults = [f"{name} is {type(value).__name__}, not text" for name in ("name", "description")
              if not isinstance(value := getattr(task, name), str) or not value.strip()]  # fmt: skip
    for name in ("families", "splits", "tools"):
        value = getattr(task, name)
        if not isinstance(value, tuple) or not all(isinstance(part, str) for part in value):
            faults.append(f"{name} is {value!r:.60}, not a tuple of texts")
    if faults:
        return several(faults)
    if not task.splits:
        return Finding("FAIL", "it has no split")
    if not isinstance(task.vocabulary(), tuple):
        faults.append("vocabulary() gives no tuple")
    for split in task.splits[:4]:
        for index in _INDICES:
            try:
                first, again = task.case(split, index, 0), task.case(split, index, 0)
            except MissingDataError:
                raise
            except (IndexError, ValueError) as error:
                if index == 0:
                    faults.append(f"the first case of {split} cannot be had: {type(error).__name__}: {error}")
                break  # a split may end
            faults += _case_faults(task, first, again, split, index, graders)
    return several(faults)


def _case_faults(task: Any, case: Any, again: Any, split: str, index: int, graders: Mapping[str, Grader]) -> list[str]:
    location = f"case {index} of {split}"
    if not isinstance(case, Case):
        return [f"{location} is {type(case).__name__}, not a Case"]
    faults = []
    if (case.task, case.split, case.index) != (task.name, split, index):
        faults.append(f"{location} says that it is case {case.index} of {case.split} of {case.task}")
    if case.family not in task.families:
        faults.append(f"{location} is of the family {case.family!r}, which the task does not name")
    if not case.images and not case.question.strip():
        faults.append(f"{location} has neither an image nor a question")
    if _case_facts(case) != _case_facts(again):
        faults.append(f"{location} is another one when it is dealt again")
    try:
        graded = grade(case.answer, case.answer.value, options=case.options, graders=with_builtin_graders(graders))
    except ValueError as error:
        return [*faults, f"{location} has an answer that cannot be graded: {error}"]
    if not graded.correct:
        faults.append(f"{location}: its own answer {case.answer.value!r:.60} is graded wrong")
    return faults


def _case_facts(case: Case) -> tuple[Any, ...]:
    pixels = [list(image_snapshot(image)) for image in case.images]
    return case.id, case.family, case.question, case.options, case.answer, pixels


# -- rewards and graders


def check_reward(term: Any) -> Finding:
    """A finite number for every outcome, whatever happened in the episode."""
    call = ToolCall(name="toy_cut", arguments={"image": 0})
    called = Turn("<tool_call>...</tool_call>", calls=(call,), well_formed=True)
    failed = Turn("?", error=ToolError("malformed_call", "End the turn."))
    answered = Turn("<answer>yes</answer>", answer="yes", well_formed=True)
    result, broken = ToolResult(text="1"), ToolResult(error=ToolError("tool_failed", "It failed."))
    right, wrong = Grade(correct=True), Grade()
    outcomes = {
        "a right answer": EpisodeOutcome((answered,), ((),), right),
        "a right answer after a call": EpisodeOutcome((called, answered), ((result,), ()), right, True),
        "a wrong answer after a call that failed": EpisodeOutcome((called, answered), ((broken,), ()), wrong, False),
        "an abstention": EpisodeOutcome((answered,), ((),), Grade(abstained=True)),
        "no answer": EpisodeOutcome((called, failed), ((result,), ()), Grade(answered=False)),
        "no turn": EpisodeOutcome((), (), Grade(answered=False)),
    }
    faults = []
    for what, outcome in outcomes.items():
        try:
            value = term(outcome)
        except Exception as error:  # noqa: BLE001 the author's code
            faults.append(f"for {what} it raises {type(error).__name__}: {error}")
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            faults.append(f"for {what} it gives {value!r:.60}, not a finite number")
    return several(faults)


def check_grader(kind: str, grader: Any) -> Finding:
    """The right answer is right, and a text that makes no sense is wrong, not an error."""
    faults = []
    usable = []
    for value in _VALUES:
        with contextlib.suppress(ValueError):
            usable.append((value, grader(Answer(value, kind=kind), value, (value, "other"))))
    if not usable:
        return Finding("SKIP", f"it takes none of the answers {', '.join(map(repr, _VALUES))}")
    for value, graded in usable:
        if not isinstance(graded, Grade):
            return Finding("FAIL", f"it gives {type(graded).__name__}, not a Grade")
        if not graded.correct:
            faults.append(f"the right answer {value!r} is graded wrong")
        for text in ("", "qwertz uiop", "?" * 4000, "\x00\ufffd"):
            try:
                if grader(Answer(value, kind=kind), text, (value, "other")).correct:
                    faults.append(f"{text[:20]!r} is graded right where {value!r} is")
            except Exception as error:  # noqa: BLE001 the author's code
                faults.append(f"for the text {text[:20]!r} it raises {type(error).__name__}: {error}")
    return several(faults)


# -- executors, trainers, policies


def check_executor(factory: Any) -> Finding:
    """Gives what the executor of this process gives: results, errors as results, images under the same handles."""
    from medvistagym_core.execution import ImageStore, LocalExecutor

    try:
        executor = factory(TOY_TOOLBOX)
    except TypeError as error:
        return Finding("SKIP", f"it cannot be made without an argument: {error}")
    except ValueError as error:
        return Finding("SKIP", f"it cannot run the sample tools: {error}")
    outcomes = []
    with contextlib.closing(executor), contextlib.closing(LocalExecutor(TOY_TOOLBOX)) as local:
        for runner in (local, executor):
            stores = [ImageStore(ToyTask().case("train", index).images * 2) for index in range(2)]
            results = runner.run([(store, TOY_CALLS) for store in stores])
            outcomes.append([[_result_facts(result) for result in row] for row in results])
    if outcomes[0] != outcomes[1]:
        pairs = zip(outcomes[0], outcomes[1], strict=False)
        k, row = next(
            ((k, mine) for theirs, mine in pairs for k in range(len(theirs)) if theirs[k:] != mine[k:]), (0, [])
        )
        got = row[k] if k < len(row) else "nothing"
        return Finding("FAIL", f"for the call {TOY_CALLS[k].name} it gives {str(got)[:200]}")
    return PASS


def _result_facts(result: ToolResult) -> tuple[Any, ...]:
    error = None if result.error is None else (result.error.code, result.error.message)
    return error, result.text, result.handles, [image.digest for image in result.images]


def check_trainer(trainer: Any) -> Finding:
    """Says what it is and has, shows a policy the tools' own schemas, and can be called as `medvistagym train` does."""
    faults = [f"{name} is {type(value).__name__}, not text" for name in ("name", "description")
              if not isinstance(value := getattr(trainer, name), str)]  # fmt: skip
    recipes = trainer.recipes()
    if not isinstance(recipes, Mapping) or not all(isinstance(part, str) for pair in recipes.items() for part in pair):
        faults.append("recipes() gives no mapping of names to lines")
    schemas = trainer.tool_schemas(TOY_TOOLBOX)
    if len(schemas) != len(TOY_TOOLBOX):
        faults.append(f"tool_schemas() shows {len(schemas)} of {len(TOY_TOOLBOX)} tools")
    calls: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
        ("train", (None,), dict.fromkeys(("run", "recipe", "changes", "tools", "model", "quick", "resume"))),
        ("load_policy", (None, Path(), ToyTask(), TOY_TOOLBOX), {"temperature": None, "seed": 0}),
    )
    for method, given, named in calls:
        try:
            inspect.signature(getattr(trainer, method)).bind(*given, **named)
        except TypeError as error:
            faults.append(f"{method} cannot be called as the command line does: {error}")
    return several(faults)


def check_policy(factory: Any) -> Finding:
    """Makes a policy that writes a turn for every observation."""
    task, config = ToyTask(), EpisodeConfig()
    try:
        policy = factory(task, TOY_TOOLBOX, config, seed=0)
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError) and "argument" in str(error):
            return Finding("FAIL", f"it cannot be called as (task, toolbox, config, seed=0): {error}")
        return Finding("SKIP", f"it cannot play the sample task: {error}")
    faults = [] if isinstance(policy.name, str) and policy.name else ["its policy has no name"]
    if not isinstance(policy.sampling, Mapping):
        faults.append(f"the policy's sampling is {type(policy.sampling).__name__}, not a mapping")
    episodes = [Episode(task.case("train", index), TOY_TOOLBOX, config) for index in range(3)]
    turns = policy.act([episode.observation() for episode in episodes])
    if not isinstance(turns, Sequence) or len(turns) != len(episodes):
        return Finding("FAIL", f"act gives {turns!r:.60} for {len(episodes)} observations")
    for turn in turns:
        if isinstance(turn, Exception):
            faults.append(f"it fails with {type(turn).__name__}: {turn}")
        elif not isinstance(turn, str | Turn):
            faults.append(f"it writes {type(turn).__name__}, not text")
    return several(faults)


# -- action formats and dialects


def check_action_format(form: Any) -> Finding:
    """What it writes it reads back, and no text makes it raise."""
    faults = []
    if form.think not in ("required", "optional", "off"):
        faults.append(f"think is {form.think!r}")
    if not isinstance(form.instructions, str) or not form.instructions.strip():
        faults.append("instructions are no text")
    if not isinstance(form.stop_strings, tuple):
        faults.append("stop_strings are no tuple")
    reasoning = "I look." if form.think == "required" else None
    call = ToolCall(name="toy_cut", arguments={"image": 0, "box": [0, 0, 500, 500], "note": 'a "b" <c> é'})
    turn = form.parse(form.format_turn(reasoning, [call]))
    if [(one.name, one.arguments) for one in turn.calls] != [(call.name, call.arguments)]:
        faults.append(f"a call that it writes comes back as {turn.calls or turn.error}")
    turn = form.parse(form.format_turn(reasoning, answer="upper left"))
    if turn.answer != "upper left":
        faults.append(f"an answer that it writes comes back as {turn.answer!r:.60}")
    function = {"name": "toy_cut", "arguments": "{}"}
    sent = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    for what in (*_HOSTILE, sent):
        read = form.parse(what) if isinstance(what, str) else form.parse_message(what)
        if not isinstance(read, Turn):
            faults.append(f"it reads {what!r:.40} as {type(read).__name__}, not a Turn")
        elif read.error is not None and (read.calls or read.answer is not None):
            faults.append(f"the turn {what!r:.40} has an error and calls or an answer")
    return several(faults)


def check_dialect(dialect: Any) -> Finding:
    """Renders every tool as JSON or text that names the tool and each argument."""
    faults = []
    for spec in TOY_TOOLBOX.specs:
        rendered = dialect(spec)
        if not isinstance(rendered, dict | str):
            faults.append(f"{spec.name} is rendered as {type(rendered).__name__}, not a dict or text")
            continue
        try:
            text = rendered if isinstance(rendered, str) else json.dumps(rendered)
        except (TypeError, ValueError) as error:
            faults.append(f"what it renders of {spec.name} is not JSON: {error}")
            continue
        missing = [name for name in (spec.name, *spec.parameters["properties"]) if name not in text]
        if missing:
            faults.append(f"what it renders of {spec.name} does not name {', '.join(missing)}")
    return several(faults)
