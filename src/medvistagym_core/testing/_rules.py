"""What is checked, and what a failure means: the published, versioned policy of the conformance kit.

A check only finds; whether a finding blocks is decided here. The version rises when a rule is added or changes its severity, so
that a report says by which policy it was judged.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

RULESET_VERSION: Final = 2
IMPORT_LIMIT_S: Final = 0.1
HEAVY: Final = (
    "SimpleITK", "cc3d", "cv2", "datasets", "gdcm", "gymnasium", "itk", "jax", "kornia", "matplotlib", "monai",
    "nibabel", "numba", "numpy", "onnxruntime", "pandas", "ray", "scipy", "skimage", "sklearn", "tensorflow", "timm",
    "torch", "torchvision", "transformers", "trl",
)  # fmt: skip
RELATIVE_TOLERANCE: Final = 1e-5

Status = Literal["PASS", "FAIL", "SKIP", "ERROR"]
Severity = Literal["blocks", "advises"]
Scope = Literal[
    "plugin", "tool", "task", "reward", "grader", "reader", "writer", "segmenter", "executor", "trainer", "policy",
    "action format", "dialect",
]  # fmt: skip
SCOPES: Final[dict[Scope, str]] = {
    "tool": "tools", "task": "tasks", "reward": "rewards", "grader": "graders", "reader": "readers", "writer": "writers",
    "segmenter": "segmenters", "executor": "executors", "trainer": "trainers", "policy": "policies",
    "action format": "action_formats", "dialect": "dialects",
}  # fmt: skip
"""What a check is made of, and the kind of contribution that it is."""


class Rule(BaseModel):
    """One check: what it asks for, how much that matters, and what to do when it fails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="Name of the check.")
    scope: Scope = Field(description="Whether it is made once, or of everything of a kind that the plugin offers.")
    severity: Severity = Field(description="Whether a failure blocks, or is advice.")
    asks: str = Field(description="What must hold.")
    remedy: str = Field(description="What to do when it does not.")
    needs: tuple[str, ...] = Field(default=(), description="Checks without which it cannot be made.")


def _rule(rule: str, scope: Scope, severity: Severity, asks: str, remedy: str, *needs: str) -> Rule:
    return Rule(id=rule, scope=scope, severity=severity, asks=asks, remedy=remedy, needs=needs)


RULES: Final[tuple[Rule, ...]] = (
    _rule(
        "loads", "plugin", "blocks",
        "it loads in a fresh interpreter and offers something",
        "Mend what the reason names; `medvistagym plugins list` shows the same.",
    ),
    _rule(
        "contracts", "plugin", "blocks",
        "whatever its hooks give has the members that its contract asks for",
        "Add what is missing; the contracts are in `medvistagym_core.plugins` and docs/plugins.md.",
        "loads",
    ),
    _rule(
        "imports-light", "plugin", "blocks",
        f"its import takes under {IMPORT_LIMIT_S * 1000:.0f} ms beyond the bare core's on an ordinary machine (a slow one is "
        "given longer), and imports no array or model library",
        "Import heavy libraries inside the function that uses them, or in the tool's setup(device).",
        "loads",
    ),
    _rule(
        "imports-cleanly", "plugin", "advises",
        "importing it prints nothing, starts no thread, and leaves the working folder and the environment as they were",
        "Move what happens on import into the function or into setup(device).",
        "loads",
    ),
    _rule(
        "names-free", "plugin", "advises",
        "no other installed or listed plugin has a tool of the same name",
        "Rename the tool with @tool(name=...): until then users of both must give an alias.",
        "loads",
    ),
    _rule(
        "schema-valid", "tool", "blocks",
        "the JSON Schema of its arguments is valid by the metaschema of draft 2020-12",
        "Mend the json_schema_extra or custom schema of the argument that is named.",
        "loads",
    ),
    _rule(
        "arguments-described", "tool", "blocks",
        "the tool and every argument are described in words that say more than the name",
        "Say under Args: what the argument means, with its unit and range.",
        "loads",
    ),
    _rule(
        "constraints-kept", "tool", "blocks",
        "every constraint of the arguments is in the schema",
        "Constrain with Field(ge=..., le=..., ...) and leave the schema of the argument to pydantic.",
        "loads",
    ),
    _rule(
        "schema-same", "tool", "blocks",
        "validator, prompt, every dialect and the trainer show the same schema",
        "Let @tool make the schema; do not set `parameters` by hand.",
        "loads",
    ),
    _rule(
        "invalid-arguments", "tool", "blocks",
        "invalid arguments give one readable sentence that names the argument and what is accepted",
        "In a validator of your own raise ValueError with such a sentence, and nothing else.",
        "schema-valid",
    ),
    _rule(
        "valid-calls", "tool", "blocks",
        "valid arguments on any picture give a result that can be shown or a ValueError's sentence, in time, without a crash",
        "Handle the picture that is named, or raise ValueError with a sentence that says what the tool takes.",
        "schema-valid",
    ),
    _rule(
        "input-unchanged", "tool", "blocks",
        "its inputs are the same after a call",
        "Work on a copy: image.pixels.copy().",
        "valid-calls",
    ),
    _rule(
        "declared-output", "tool", "blocks",
        "a result holds what the return annotation declares",
        "Annotate what run returns, or return what is annotated.",
        "valid-calls",
    ),
    _rule(
        "lineage-inside", "tool", "blocks",
        "every image that it makes maps back inside its source image, its middle at least where it is turned by an angle",
        "Make images with image.crop, image.resized and image.with_pixels, which keep the geometry.",
        "valid-calls",
    ),
    _rule(
        "deterministic", "tool", "blocks",
        "a tool declared deterministic gives bit for bit the same again, in another process too",
        "Seed what is random from the arguments, or declare @tool(deterministic=False).",
        "valid-calls",
    ),
    _rule(
        "batch-equals-loop", "tool", "blocks",
        f"the batched kernel gives what the calls give one by one: integers and text exactly, floats to {RELATIVE_TOLERANCE:g}"
        " of their range",
        "Mend the batched kernel, or remove it: without one the calls are made one by one.",
        "valid-calls",
    ),
    _rule(
        "pickles", "tool", "blocks",
        "it survives pickling to a worker process and works there",
        "Define the tool at the top level of a module, under the name of its function.",
        "valid-calls",
    ),
    _rule(
        "task-cases", "task", "blocks",
        "it says what it is, and deals the same sound cases every time, each graded right by its own answer",
        "Make everything of a case from (split, index, seed), and give `Answer` the kind that fits.",
        "contracts",
    ),
    _rule(
        "reward-finite", "reward", "blocks",
        "it gives a finite number for every outcome of an episode",
        "Handle episodes without calls, without an answer and with calls that failed.",
        "contracts",
    ),
    _rule(
        "grader-grades", "grader", "blocks",
        "the right answer is right, and a text that makes no sense is wrong, not an error",
        "Return Grade(); raise ValueError for a right answer that is none of this kind, never for a text.",
        "contracts",
    ),
    _rule(
        "reader-declines", "reader", "blocks",
        "it gives None for files that are not of its kind, and a sentence for broken ones",
        "Look at the first bytes before reading; return None, or raise ValueError with a sentence.",
        "contracts",
    ),
    _rule(
        "writer-writes", "writer", "blocks",
        "it writes a file of the given name or refuses the image with a sentence, and leaves nothing else behind",
        "Write beside the file and rename; raise ValueError for what the format cannot hold.",
        "contracts",
    ),
    _rule(
        "segmenter-masks", "segmenter", "blocks",
        "it gives booleans of the image's shape, or a sentence",
        "Return a mask of the shape (H, W) or (N, H, W); raise ValueError with what the segmenter takes.",
        "contracts",
    ),
    _rule(
        "executor-runs", "executor", "blocks",
        "it gives what the executor of this process gives: results, errors as results, images under the same handles",
        "Build it on `medvistagym_core.execution.schedule_calls`, which does all that does not depend on where tools run.",
        "contracts",
    ),
    _rule(
        "trainer-shows", "trainer", "blocks",
        "it says what it is, shows a policy every tool, and can be called as `medvistagym train` calls it",
        "Give train and load_policy the arguments of `medvistagym_core.rollouts.Trainer`.",
        "contracts",
    ),
    _rule(
        "policy-acts", "policy", "blocks",
        "it writes a turn for every observation",
        "Take (task, toolbox, config, seed=0), and let act return one text for each observation.",
        "contracts",
    ),
    _rule(
        "format-round-trip", "action format", "blocks",
        "what it writes it reads back, and no text makes it raise",
        "Let parse return a Turn with an error instead of raising.",
        "contracts",
    ),
    _rule(
        "dialect-renders", "dialect", "blocks",
        "it renders every tool as JSON or text that names the tool and each argument",
        "Return a dict of JSON values, or text, made of `spec.name` and `spec.parameters`.",
        "contracts",
    ),
)  # fmt: skip

BY_ID: Final = {rule.id: rule for rule in RULES}
