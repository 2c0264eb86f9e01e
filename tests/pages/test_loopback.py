"""The server of every page: to whom it answers, and from whom it takes anything."""

import contextlib
import http.client
import json

import pytest

from medvistagym_core.pages import MAX_BODY_BYTES, LoopbackServer, PageRequest, PageResponse, page_document, read_asset


class Echo(LoopbackServer):
    def respond(self, request: PageRequest) -> PageResponse | None:
        return PageResponse.json({"path": request.path, "body": request.body}) if request.path != "nothing" else None


@pytest.fixture
def page():
    with Echo() as page:
        yield page


def post(page, body, path="say", host=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    sent = {"Content-Type": "application/json", "Host": host or f"127.0.0.1:{page.port}", **headers}
    connection.request("POST", f"/{page.secret}/{path}", body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_it_takes_json_from_its_own_page(page):
    status, content = post(page, b'{"a": 1}', Origin=f"http://127.0.0.1:{page.port}")
    assert (status, json.loads(content)) == (200, {"path": "say", "body": {"a": 1}})
    assert post(page, b'{"a": 1}', path="nothing")[0] == 404


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Origin": "https://example.org"}),
        (403, {"Origin": "null"}),
        (415, {"Content-Type": "text/plain"}),
        (415, {"Content-Type": "application/x-www-form-urlencoded"}),
        (421, {"host": "example.org"}),
    ],
)
def test_it_takes_nothing_from_another_page(page, status, headers):
    assert post(page, b"{}", **headers)[0] == status


def test_it_takes_nothing_without_the_secret(page):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)) as connection:
        connection.request("POST", "/guess/say", b"{}", {"Content-Type": "application/json"})
        assert connection.getresponse().status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"[" * 5000, b"\xff"])
def test_it_refuses_what_is_no_object(page, body):
    assert post(page, body)[0] == 400
    assert post(page, b"{}")[0] == 200


def test_it_refuses_more_than_a_page_sends(page):
    assert post(page, None, **{"Content-Length": str(MAX_BODY_BYTES + 1)})[0] == 413


def test_a_page_is_made_of_its_template_style_and_scripts():
    page = page_document("<!-- policy -->\n<!-- head -->|<!-- body -->", "style", "script", "none")
    assert page == '<meta http-equiv="Content-Security-Policy" content="none">\nstyle|script'
    assert "createTextNode" in read_asset("medvistagym_core.play", "dom.js")
