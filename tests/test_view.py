"""The page's data, lineage, server and exported file; what a browser makes of them is in `test_view_browser.py`."""

import base64
import hashlib
import http.client
import io
import json
import math
import re
import threading
from urllib.parse import urlsplit

import PIL.Image
import pytest

from medvistagym_core import cli
from medvistagym_core.episode import Episode, step_episodes
from medvistagym_core.page import Choice, Page, Restorer, Run, choose, export
from medvistagym_core.protocol import Protocol
from medvistagym_core.registry import Registry
from medvistagym_core.report import Results, Row
from medvistagym_core.tool import ToolCall
from medvistagym_core.trajectory import PolicyRecord, TrajectoryWriter

WINDOW = ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
CROP = ToolCall(name="crop", arguments={"image": 0, "box": [500, 0, 1000, 500]})
CROP_OF_CROP = ToolCall(name="crop", arguments={"image": 1, "box": [0, 500, 500, 1000]})
OUTSIDE = ToolCall(name="crop", arguments={"image": 7, "box": [0, 0, 500, 500]})
MALFORMED = "hm"


@pytest.fixture
def write(task, toolbox, executor, tmp_path):
    """Write episodes, each a list of turns, each turn a call, calls or text; the run's folder."""

    def episodes(*plays, name="test", policy="hand", tools=None, **changes):
        with TrajectoryWriter(tmp_path / "run" / f"{name}.jsonl", tools or toolbox) as writer:
            for number, turns in enumerate(plays):
                episode = Episode.of(task, "test", number, tools or toolbox, **changes)
                for turn in (*turns, "<answer>upper left</answer>"):
                    said = turn if isinstance(turn, str) else Protocol().render(None, [turn])
                    step_episodes(executor, [episode], [said], seconds=0.25)
                writer.write(episode.finish(PolicyRecord(name=policy)), episode.pictures())
        return tmp_path / "run"

    return episodes


def read(path):
    run = Run(path)
    run.read()
    return run


def only(pattern, text):
    (match,) = re.findall(pattern, text, re.DOTALL)
    return match


def texts(run, column):
    table = run.table()
    return [table["strings"][row[table["columns"].index(column)]] for row in table["rows"]]


# -- reading


def test_rows_tell_of_each_episode_and_the_record_follows(write):
    run = read(write([WINDOW], [MALFORMED, OUTSIDE], []))
    table = run.table()
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    strings = table["strings"]
    assert texts(run, "family") == ["window", "direct", "window"]
    assert texts(run, "policy") == ["hand"] * 3
    assert texts(run, "question")[0].startswith("Which quadrant is bright?")
    assert [[strings[n] for n in row["tools"]] for row in rows] == [["window"], ["crop"], []]
    assert [[(strings[c], strings[t]) for c, t in row["errors"]] for row in rows] == [
        [],
        [("malformed_call", ""), ("bad_value", "crop")],
        [],
    ]
    assert [row["turns"] for row in rows] == [2, 3, 1]
    assert rows[0]["seconds"] > 0.5
    episode = run.episode(1)
    assert episode["turns"][1]["calls"][0]["arguments"] == OUTSIDE.arguments
    assert sum(episode["parts"].values()) == pytest.approx(episode["reward"])
    assert run.picture(0, episode["images"][0]["picture"]).is_file()
    with pytest.raises(IndexError):
        run.episode(3)


def test_what_is_appended_later_is_taken_up_and_an_unfinished_line_waits(write, monkeypatch):
    folder = write([WINDOW], [])
    run = read(folder)
    assert len(run.rows) == 2
    whole = (folder / "test.jsonl").read_bytes()
    with (folder / "test.jsonl").open("ab") as file:
        file.write(whole[:500])
    assert run.read() == 0
    with (folder / "test.jsonl").open("ab") as file:
        file.write(whole[500:])
    assert run.read() == 2
    assert run.table(2)["rows"][0][1] == run.rows[0][1]
    assert run.trajectory(3) == run.trajectory(1)
    write([CROP], name="other", policy="second")
    monkeypatch.setattr(
        "medvistagym_core.page.run.time.monotonic", lambda: math.inf
    )  # new files are looked for now and then
    assert run.read() == 1
    assert run.files == ["test.jsonl", "other.jsonl"]
    assert texts(run, "policy")[-1] == "second"


def test_reading_goes_in_steps(write):
    run = Run(write(*[[]] * 7))
    assert [run.read(3), run.read(3), run.read(3), run.read(3)] == [3, 3, 1, 0]


def test_a_line_that_cannot_be_read_is_named_and_left_out(write):
    folder = write([WINDOW], [])
    lines = (folder / "test.jsonl").read_text().splitlines()
    (folder / "test.jsonl").write_text("\n".join([lines[0], '{"version": 9}', "no json", lines[1], ""]))
    run = read(folder)
    assert len(run.rows) == 2
    assert [p.split(": ")[0] for p in run.problems] == ["test.jsonl, line 2", "test.jsonl, line 3"]
    assert run.trajectory(1).index == 1


def test_a_file_alone_is_a_run_and_a_folder_without_one_is_not(write, tmp_path):
    folder = write([WINDOW])
    assert read(folder / "test.jsonl").files == ["test.jsonl"]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="there is no"):
            Run(path)


def test_what_the_training_logged_and_reached_is_found(write):
    folder = write([WINDOW])
    lines = [{"phase": "grpo", "step": k, "accuracy": k / 3, "window/accuracy": 0.5, "note": "x"} for k in range(3)]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '[1]\nbroken\n{"step": "x"}\n'
    )
    rows = (Row.of("expert", "overall", "greedy", n=4, correct=3, calls=4, abstained=1),)
    Results(task="t", split="test", seed=0, rows=rows).save(folder / "results.json")
    figures = read(folder).figures()
    (curves,) = figures["curves"]
    assert curves["series"]["grpo"] == {
        "accuracy": [(0, 0.0), (1, 1 / 3), (2, 2 / 3)],
        "window/accuracy": [(k, 0.5) for k in range(3)],
    }
    assert figures["results"][0]["rows"][0]["correct"] == 3


# -- lineage


def test_boxes_lie_on_the_source_however_many_crops_lie_between(write):
    run = read(write([CROP, CROP_OF_CROP, WINDOW, OUTSIDE]))
    episode = run.episode(0)
    first, second = episode["marks"]
    assert (first["turn"], first["tool"], first["handle"], first["root"]) == (0, "crop", 0, 0)
    assert first["on"] == first["at"] == [(0.5, 0), (1, 0), (1, 0.5), (0.5, 0.5)]
    assert (second["turn"], second["handle"], second["root"]) == (1, 1, 0)
    assert second["on"] == [(0, 0.5), (0.5, 0.5), (0.5, 1), (0, 1)]
    assert second["at"] == [(0.5, 0.25), (0.75, 0.25), (0.75, 0.5), (0.5, 0.5)]
    assert episode["roots"] == [0, 0, 0, 0]
    window = episode["images"][3]
    assert (window["window_center"], window["window_width"]) == (1, 10)


# -- the server


@pytest.fixture
def page(write):
    with Page(read(write([WINDOW], [CROP]))) as page:
        yield page


def ask(page, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{page.port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_it_serves_the_page_its_rows_and_pictures_with_a_strict_policy(page):
    base = urlsplit(page.url).path
    answer, body = ask(page, base)
    policy = answer.getheader("Content-Security-Policy")
    assert answer.status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    assert b"not for clinical use" in body
    assert not re.search(rb"<script(?! src=)|\son\w+=|style=", body)
    for name in re.findall(rb'(?:src|href)="([^"]+)"', body):
        assert ask(page, base + name.decode())[0].status == 200
    rows = json.loads(ask(page, base + "rows")[1])
    assert len(rows["rows"]) == 2
    again = json.loads(ask(page, f"{base}rows?rows=2&strings={len(rows['strings'])}")[1])
    assert again["rows"] == again["strings"] == []
    assert again["done"] is True
    episode = json.loads(ask(page, base + "episode/1")[1])
    sha = episode["images"][0]["picture"]
    answer, picture = ask(page, f"{base}picture/0/{sha}.png")
    assert answer.getheader("Content-Type") == "image/png"
    assert picture == (page.run.path / "images" / f"{sha}.png").read_bytes()
    assert ask(page, base + "thumb/1")[1] == picture
    head, nothing = ask(page, base, "HEAD")
    assert int(head.getheader("Content-Length")) > 1000
    assert nothing == b""


def test_it_answers_to_loopback_with_the_secret_and_to_nobody_else(page):
    base = urlsplit(page.url).path
    assert page._server.server_address[0] == "127.0.0.1"
    for path in ("/", "/rows", "/favicon.ico", base[:-2] + "/", "/x" + base, "//", ""):
        assert ask(page, path or "/")[0].status == 404
    for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1", f"127.0.0.1:{page.port + 1}"):
        assert ask(page, base, host=host)[0].status == 421
    assert ask(page, base, host=f"localhost:{page.port}")[0].status == 200
    assert ask(page, base, "POST")[0].status == 501


def test_no_path_leads_out_of_the_run(page, tmp_path):
    base = urlsplit(page.url).path
    outside = tmp_path / ("a" * 64 + ".png")
    outside.write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    images = page.run.path / "images"
    (images / ("b" * 64 + ".png")).symlink_to(outside)
    (images / ("c" * 64 + ".png")).write_bytes(b"<script>alert(1)</script>")
    wanted = [
        "../trajectories.jsonl", "test.jsonl", "images/x.png", "..%2f..%2fetc%2fpasswd", "../../../../etc/passwd", "page.html",
        "page.py", "episode/99", "episode/-1", "episode/x", "thumb/99", "static/page.css", "%2e%2e/",
        *(f"picture/{where}{letter * 64}.png" for where in ("0/../", "9/", "0/") for letter in "abc"),
    ]  # fmt: skip
    for path in wanted:
        answer, body = ask(page, base + path)
        assert answer.status == 404, path
        assert b"secret" not in body


@pytest.fixture
def registry(task, toolbox):
    registry = Registry()
    for found in toolbox.values():
        registry.register(found)
    registry.add_task(task)
    return registry


def test_images_are_made_again_at_their_own_size_when_they_are_the_recorded_ones(write, registry):
    folder = write([CROP], view_side=8, tools=registry.toolbox())
    line = json.loads((folder / "test.jsonl").read_text())
    line["id"] = "another"
    line["images"][1]["digest"] = "0" * 64
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with Page(read(folder), restorer=Restorer(lambda: registry)) as page:
        base = urlsplit(page.url).path
        assert json.loads(ask(page, base + "rows")[1])["full"] is True
        for handle, size in ((0, (32, 32)), (1, (16, 16))):
            shown = page.run.episode(0)["images"][handle]
            assert (shown["height"], shown["width"]) == (8, 8)
            whole = PIL.Image.open(io.BytesIO(ask(page, f"{base}full/0/{handle}.png")[1]))
            assert whole.size == size
        for lost in ("full/1/1.png", "full/0/9.png", "full/9/0.png"):
            assert ask(page, base + lost)[0].status == 404
        assert ask(page, base + "full/1/0.png")[0].status == 200


def test_images_stay_as_they_were_shown_where_their_task_is_not_installed(write, registry):
    empty = Registry()
    with Page(read(write([CROP], view_side=8)), restorer=Restorer(lambda: empty)) as page:
        assert ask(page, urlsplit(page.url).path + "full/0/0.png")[0].status == 404
    with Page(read(write([CROP], name="other"))) as page:
        assert ask(page, urlsplit(page.url).path + "full/0/0.png")[0].status == 404


def test_many_readers_at_once_get_whole_answers(page):
    base, failures = urlsplit(page.url).path, []

    def reader():
        for _ in range(20):
            answer, body = ask(page, base + "episode/0")
            if answer.status != 200 or json.loads(body)["index"] != 0:
                failures.append(body)

    threads = [threading.Thread(target=reader) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_identifiers_of_an_image_are_nowhere(page, tmp_path):
    export(page.run, tmp_path / "page.html", [0, 1])
    answers = [
        ask(page, urlsplit(page.url).path + path)[1] for path in ("", "rows", "figures", "episode/0", "episode/1")
    ]
    assert all(b"SECRET" not in body for body in (*answers, (tmp_path / "page.html").read_bytes()))


# -- one file


def test_an_exported_page_holds_the_chosen_episodes_and_asks_for_nothing(write, tmp_path):
    run = read(write([WINDOW], [CROP], [], [MALFORMED]))
    size = export(run, tmp_path / "page.html", [0, 1])
    text = (tmp_path / "page.html").read_text()
    assert size == len(text.encode())
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "not for clinical use" in text
    policy = only(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    script = only(r"<script>(.*?)</script>", text)
    style = only(r"<style>(.*?)</style>", text)
    for part in (script, style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy
    assert "unsafe" not in policy
    blocks = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', text, re.DOTALL))
    data = json.loads(blocks["data"])
    assert data["here"] == [0, 1]
    assert len(data["rows"]) == 4
    assert {name for name in blocks if name.startswith("episode")} == {"episode-0", "episode-1"}
    for episode in (json.loads(blocks["episode-0"]), json.loads(blocks["episode-1"])):
        for image in episode["images"]:
            sha = image["picture"]
            assert base64.b64decode(blocks[f"picture-0-{sha}"]) == (run.path / "images" / f"{sha}.png").read_bytes()


def test_untrusted_text_cannot_end_a_block_of_data(write, tmp_path):
    payload = "</script><script>window.ran=1</script><!--<script>"
    run = read(write([payload], policy=payload))
    export(run, tmp_path / "page.html", [0])
    text = (tmp_path / "page.html").read_text()
    assert "window.ran=1" in text
    assert payload not in text
    assert "<!--" not in text.replace("<!doctype", "")
    assert text.count("<script>") == text.count('<script>"use strict"') == 1


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (Choice(), [0, 1, 2, 3]),
        (Choice(tool="window"), [0]),
        (Choice(error="malformed_call"), [3]),
        (Choice(family="direct"), [1, 3]),
        (Choice(task="quadrants", outcome="no answer"), []),
        (Choice(task="other"), []),
    ],
)
def test_episodes_are_chosen_by_what_they_are(write, choice, numbers):
    assert choose(read(write([WINDOW], [CROP], [], [MALFORMED])), choice) == numbers


def test_a_sample_is_drawn_by_its_seed(write):
    run = read(write(*[[]] * 30))
    some = choose(run, Choice(episodes=10))
    assert len(some) == 10
    assert some == sorted(some) == choose(run, Choice(episodes=10))
    assert some != choose(run, Choice(episodes=10, seed=1))


# -- the command


def test_the_command_exports_a_page(write, tmp_path, capsys):
    folder = write([WINDOW], [CROP])
    out = tmp_path / "page.html"
    assert cli.main(["view", str(folder), "--export", str(out), "--tool", "crop", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"file": str(out), "episodes": 1, "of": 2, "bytes": out.stat().st_size}


def test_the_command_says_what_is_wrong(write, tmp_path, capsys):
    folder = str(write([WINDOW]))
    for wrong, why in (
        ([str(tmp_path / "nowhere")], "no such file or folder"),
        ([folder, "--export", str(tmp_path / "page.txt")], ".html"),
        ([folder, "--export", str(tmp_path / "no" / "page.html")], "does not exist"),
        ([folder, "--episodes", "0", "--export", str(tmp_path / "page.html")], "at least 1"),
        ([folder, "--port", "99999"], "65535"),
        ([folder, "--outcome", "good"], "invalid choice"),
    ):
        assert cli.main(["view", *wrong]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_the_command_serves_until_it_is_stopped(write, capsys, monkeypatch):
    seen = []

    def stop(page):
        base = urlsplit(page.url).path
        seen.append((page.url, ask(page, base)[0].status))
        raise KeyboardInterrupt

    monkeypatch.setattr(Page, "wait", stop)
    assert cli.main(["view", str(write([WINDOW]))]) == 0
    ((url, status),) = seen
    assert status == 200
    assert capsys.readouterr().out.strip() == url
