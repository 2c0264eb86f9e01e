"""The server of the page: what it gives, what it takes, and what it keeps to itself."""

import http.client
import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import Image, Window
from medvistagym_core.play import PlayServer, PlaySession, find_sources

BOX = [500, 0, 1000, 500]


class Client:
    def __init__(self, page):
        self.page = page

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=10)
        connection.request("GET", f"/{self.page.secret}/{path}")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    def post(self, path, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=10)
        connection.request(
            "POST", f"/{self.page.secret}/{path}", json.dumps(body), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content


def read_stack(path):
    """A reader of a kind of its own: a folder of files is a stack, one of them a slice."""
    if path.is_dir():
        files = sorted(path.glob("*.slice"))
    elif path.suffix == ".slice":
        files = [path]
    else:
        return None
    values = np.stack([np.full((16, 12), int(file.read_text()), np.int16) for file in files])
    pixels = values if len(values) > 1 else values[0]
    return [
        Image(pixels=pixels, unit="HU", modality="CT", window=Window(0, 100), windows=(Window(0, 100), Window(5, 10)))
    ]


@pytest.fixture
def client(tmp_path, toolbox, executor):
    series = tmp_path / "files" / "series"
    series.mkdir(parents=True)
    for number in range(10):
        (series / f"{number}.slice").write_text(str(number))
    Image(pixels=np.zeros((8, 8, 3), np.uint8), photometric="RGB").save(tmp_path / "files" / "photo.png")
    (tmp_path / "files" / "broken.png").write_bytes(b"\x89PNG but no more")
    session = PlaySession(toolbox, executor)
    sources = find_sources(tmp_path / "files")
    with PlayServer(session, sources, [read_stack], out=tmp_path / "out", name="files") as page:
        yield Client(page)


def test_it_serves_its_page_with_a_strict_policy(client):
    answer, body = client.get("")
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.getheader("Cache-Control") == "no-store"
    assert b"not for clinical use" in body
    assert not re.search(rb"<script(?! src=)|\son\w+=|style=", body)
    for name in re.findall(rb'(?:src|href)="([^"]+)"', body):
        assert client.get(name.decode())[0].status == 200


def test_a_file_is_opened_called_on_and_shown(client):
    start = json.loads(client.get("start")[1])
    names = [source["name"] for source in start["sources"]]
    assert names == ["broken.png", "photo.png", "series/"]
    assert {tool["name"] for tool in start["tools"]} == {"window", "crop", "broken"}
    status, opened = client.post("open", source=names.index("series/"))
    assert (status, opened["value"]["handle"]) == (200, 0)
    assert opened["session"]["images"][0]["frames"] == 10
    status, called = client.post("call", name="crop", arguments={"image": 0, "box": BOX})
    assert called["session"]["turns"][0]["calls"][0]["handles"] == [1]
    answer, body = client.get("slice/1/7.png")
    assert answer.getheader("Content-Type") == "image/png"
    assert PIL.Image.open(io.BytesIO(body)).size == (6, 8)
    assert json.loads(client.get("value?handle=0&frame=7&x=3&y=2")[1])["value"] == 7
    assert json.loads(client.get("session")[1]) == called["session"]


def test_a_slice_of_a_folder_is_shown_before_all_of_it_is_read(client):
    _, body = client.get("preview/2.png")
    assert PIL.Image.open(io.BytesIO(body)).size == (12, 16)
    assert client.get("preview/0.png")[0].status == 404


def test_what_cannot_be_opened_is_a_sentence(client):
    status, answer = client.post("open", source=0)
    assert (status, "session" in answer) == (422, False)
    assert "broken" in answer["error"]
    assert client.post("open", source=99) == (422, {"error": "there is no source 99"})
    assert client.post("use", source=1, image=3)[1]["error"] == "photo.png has no image 3"
    assert client.post("call", name="crop", arguments={})[1]["error"] == "open an image first"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("open", {}), ("open", {"source": "0"}), ("open", {"source": True}), ("call", {"name": 3}),
        ("call", {"name": "crop", "arguments": []}), ("ask", {"question": "?"}), ("step", {}), ("save", {"question": 1}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_harms_nothing(client, path, body):
    status, answer = client.post(path, **body)
    assert status == 422
    assert answer["error"]
    assert client.get("start")[0].status == 200


def test_nothing_else_is_there(client):
    paths = (
        "slice/0/0.png", "slice/../start", "preview/9.png", "value", "value?handle=0&frame=0&x=a&y=0", "static/play.css",
        "play.html", "..%2f..%2fetc/passwd", "_server.py",
    )  # fmt: skip
    assert {client.get(path)[0].status for path in paths} == {404}


def test_a_picture_that_cannot_be_is_not_there(client):
    client.post("open", source=2)
    for query in ("side=99999", "center=1", "center=nan&width=1", "center=1&width=-1", "side=-3"):
        assert client.get(f"slice/0/0.png?{query}")[0].status == 404, query


def test_a_session_is_saved_where_the_command_says(client, tmp_path):
    client.post("open", source=2)
    client.post("call", name="crop", arguments={"image": 0, "box": BOX})
    status, saved = client.post("save", question="Where?", answer="there")
    assert status == 200
    assert saved["value"]["folder"] == str(tmp_path / "out")
    assert list((tmp_path / "out").glob("*.jsonl"))
    status, news = client.post("reset")
    assert news["session"]["images"] == []
    assert client.get("slice/0/0.png")[0].status == 404
