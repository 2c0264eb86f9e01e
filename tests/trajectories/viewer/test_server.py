"""The server of the page: to whom it answers, and what it gives away."""

import io
import json
import re
import socket
import threading
from urllib.parse import urlsplit

import PIL.Image
import pytest

from medvistagym_core import cli
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import FullResolutionReplayer
from medvistagym_core.trajectories.viewer import ViewerServer, export

from .plays import CROP, WINDOW, read


@pytest.fixture
def page(write):
    with ViewerServer(read(write([WINDOW], [CROP]))) as page:
        yield page


def test_it_serves_the_page_its_rows_and_pictures_with_a_strict_policy(page, ask):
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


def test_it_answers_to_loopback_with_the_secret_and_to_nobody_else(page, ask):
    base = urlsplit(page.url).path
    assert page._server.server_address[0] == "127.0.0.1"
    for path in ("/", "/rows", "/favicon.ico", base[:-2] + "/", "/x" + base, "//", ""):
        assert ask(page, path or "/")[0].status == 404
    for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1", f"127.0.0.1:{page.port + 1}"):
        assert ask(page, base, host=host)[0].status == 421
    assert ask(page, base, host=f"localhost:{page.port}")[0].status == 200
    assert ask(page, base, "POST")[0].status == 501


def test_no_path_leads_out_of_the_run(page, ask, tmp_path):
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


def test_images_are_made_again_at_their_own_size_when_they_are_the_recorded_ones(ask, write, registry):
    folder = write([CROP], view_side=8, tools=registry.toolbox())
    line = json.loads((folder / "test.jsonl").read_text())
    line["id"] = "another"
    line["images"][1]["digest"] = "0" * 64
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with ViewerServer(read(folder), full_resolution=FullResolutionReplayer(lambda: registry).png) as page:
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


def test_images_stay_as_they_were_shown_where_their_task_is_not_installed(ask, write, registry):
    empty = Registry()
    with ViewerServer(
        read(write([CROP], view_side=8)), full_resolution=FullResolutionReplayer(lambda: empty).png
    ) as page:
        assert ask(page, urlsplit(page.url).path + "full/0/0.png")[0].status == 404
    with ViewerServer(read(write([CROP], name="other"))) as page:
        assert ask(page, urlsplit(page.url).path + "full/0/0.png")[0].status == 404


def test_many_readers_at_once_get_whole_answers(page, ask):
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


def test_identifiers_of_an_image_are_nowhere(page, ask, tmp_path):
    export(page.run, tmp_path / "page.html", [0, 1])
    answers = [
        ask(page, urlsplit(page.url).path + path)[1] for path in ("", "rows", "figures", "episode/0", "episode/1")
    ]
    assert all(b"SECRET" not in body for body in (*answers, (tmp_path / "page.html").read_bytes()))


def test_a_port_that_is_taken_is_said_with_a_way_out(write, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["view", str(write([WINDOW])), "--port", str(taken.getsockname()[1])]) == 1
    err = capsys.readouterr().err
    assert "cannot be had" in err
    assert "without --port" in err


def test_the_command_serves_until_it_is_stopped(ask, write, capsys, monkeypatch):
    seen = []

    def stop(page):
        base = urlsplit(page.url).path
        seen.append((page.url, ask(page, base)[0].status))
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewerServer, "wait", stop)
    assert cli.main(["view", str(write([WINDOW]))]) == 0
    ((url, status),) = seen
    assert status == 200
    assert capsys.readouterr().out.strip() == url
