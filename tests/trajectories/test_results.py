import json

import pytest
from pydantic import ValidationError

from medvistagym_core.environment import Episode, step_episodes
from medvistagym_core.trajectories import ResultRow, Results, format_table, summarize, summarize_trust, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
        (0, 0, 0.0, 1.0),
        (248, 451, 0.5037, 0.5952),
    ],
)
def test_wilson(successes, n, low, high):
    assert wilson_interval(successes, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_is_an_interval_around_the_share():
    for n in range(1, 60):
        for k in range(n + 1):
            low, high = wilson_interval(k, n)
            assert 0 <= low <= k / n <= high <= 1
    with pytest.raises(ValueError, match="between 0 and 3"):
        wilson_interval(4, 3)


def finished(task, toolbox, executor, index, *said):
    episode = Episode.from_task(task, "test", index, toolbox)
    for text in said:
        step_episodes(executor, [episode], [text])
    return episode.to_trajectory()


@pytest.fixture
def rows(task, toolbox, executor):
    look = '<tool_call>{"name": "window", "arguments": {"image": 0, "center": 1, "width": 10}}</tool_call>'
    right = [f"<answer>{task.case('test', k).answer.value}</answer>" for k in range(4)]
    played = [
        finished(task, toolbox, executor, 0, look, right[0]),
        finished(task, toolbox, executor, 1, right[1]),
        finished(task, toolbox, executor, 2, "<answer>unclear</answer>"),
        finished(task, toolbox, executor, 3, look, look, "<answer>everywhere</answer>"),
    ]
    return summarize(played, "hand", "greedy", ("direct", "window"))


def test_a_row_for_each_family_and_one_for_all(rows):
    assert [(r.family, r.n, r.correct, r.calls_per_question, r.abstained) for r in rows] == [
        ("direct", 2, 1, 1.0, 0.0),
        ("window", 2, 1, 0.5, 0.5),
        ("overall", 4, 2, 0.75, 0.25),
    ]
    assert (rows[2].low, rows[2].high) == wilson_interval(2, 4)
    assert summarize([], "nobody", "greedy")[0].n == 0


def test_a_question_sampled_several_times_counts_once_in_the_interval(task, toolbox, executor):
    answers = [f"<answer>{task.case('test', 0).answer.value}</answer>", "<answer>unclear</answer>"]
    played = [finished(task, toolbox, executor, index, answer) for index in (0, 2) for answer in answers * 5]
    *_, overall = summarize(played, "hand", "T = 1")
    right = sum(t.outcome.correct for t in played)
    assert (overall.n, overall.correct) == (20, right)
    assert (overall.low, overall.high) == pytest.approx(wilson_interval(2 * right / 20, 2))
    assert overall.high - overall.low > 0.5


def test_the_table_has_a_line_for_each_policy(rows):
    more = [ResultRow.from_counts("no tools", "overall", "T = 1", n=512, correct=215, calls=0, abstained=10)]
    lines = format_table([*rows, *more]).splitlines()
    assert lines[0].split() == [
        "policy",
        "decoding",
        "n",
        "accuracy",
        "[95",
        "%]",
        "direct",
        "window",
        "calls",
        "abstained",
    ]
    assert lines[2].split() == ["hand", "greedy", "4", "0.500", "[0.150,", "0.850]", "0.500", "0.500", "0.75", "0.250"]
    assert lines[3].startswith("no tools")
    assert lines[3].split()[-4:] == ["-", "-", "0.00", "0.020"]
    assert len({len(line) for line in lines}) == 1


def test_results_are_saved_and_checked(rows, tmp_path):
    results = Results(task="quadrants", split="test", seed=0, rows=tuple(rows), notes=("The reward uses the truth.",))
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert results.row("hand").n == 4
    assert results.row("hand", "direct", "greedy").n == 2
    with pytest.raises(KeyError, match="no row of hand, direct, T = 1"):
        results.row("hand", "direct", "T = 1")
    text = json.loads((tmp_path / "results.json").read_text())
    for change in ({"accuracy": 1.5}, {"correct": 9}, {"accuracy": 0.99}, {"mood": "good"}, {"policy": ""}):
        with pytest.raises(ValidationError):
            Results.model_validate({**text, "rows": [{**text["rows"][0], **change}]})


def test_the_schema_describes_every_field():
    schema = Results.model_json_schema()
    for part in (schema, schema["$defs"]["ResultRow"]):
        assert all("description" in field for field in part["properties"].values())


def test_right_and_wrong_specialists_have_rows_of_their_own(task, toolbox, executor):
    look = '<tool_call>{"name": "window", "arguments": {"image": 0, "center": 1, "width": 10}}</tool_call>'
    right = [f"<answer>{task.case('test', k).answer.value}</answer>" for k in range(3)]
    wrong = "<answer>everywhere</answer>"
    played = [finished(task, toolbox, executor, k, look, said) for k, said in enumerate([*right[:2], wrong])]
    alone = finished(task, toolbox, executor, 2, right[2])
    assert summarize_trust([*played, alone], "policy", "greedy") == []

    def changed(trajectory, **changes):
        (first, *rest) = trajectory.turns
        call = first.calls[0].model_copy(update=changes)
        return trajectory.model_copy(update={"turns": (first.model_copy(update={"calls": (call,)}), *rest)})

    trusted = [
        changed(played[0], data={"model": "net"}, name="net"),
        played[1],
    ]  # of a model, and of the tool that misled
    misled = changed(played[2], perturbation="contradicted")
    rows = {
        row.policy: row
        for row in summarize_trust([*trusted, misled, alone], "policy", "greedy")
        if row.family == "overall"
    }
    assert set(rows) == {"policy, specialist right", "policy, specialist wrong"}
    assert (rows["policy, specialist right"].n, rows["policy, specialist right"].correct) == (2, 2)
    assert (rows["policy, specialist wrong"].n, rows["policy, specialist wrong"].correct) == (1, 0)
