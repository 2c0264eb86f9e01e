"""A checkpoint's chat template is rendered within limits, each time, and tried before it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from medvistagym_core.protocol import (
    ChatTemplateError,
    CostlyTemplateError,
    SpecialTokens,
    _template_process,
    inspect_chat_template,
    render_chat,
)

ROLES = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
COSTLY = {
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}": "takes more than 3 s",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}": "more than 4000000 characters",
    "{% set n = namespace(s='x' * 1000) %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}": "or 256 MiB",
    "{{ 'x' * 9999999999 }}": "or 256 MiB",
    "{{ '%9999999999d' % 1 }}": "or 256 MiB",
    "{{ 9 ** 9 ** 9 }}": "raises numbers to powers",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}": "takes more than 3 s",
    "{{ lipsum(n=99999) }}": "takes more than 3 s|more than 4000000 characters",
    "{# " + "x" * 1_000_000 + " #}": "at most 1000000 are read",
}


class Checkpoint:
    """A tokenizer that renders nothing: its template must not get so far."""

    def __init__(self, template: Any) -> None:
        self.chat_template = template

    def apply_chat_template(self, conversation: Any, **options: Any) -> str:
        assert self.chat_template not in COSTLY
        return "".join(str(message["content"]) for message in conversation)


@pytest.mark.slow
@pytest.mark.parametrize(("template", "says"), COSTLY.items(), ids=range(len(COSTLY)))
def test_a_template_without_bounds_is_refused(template: str, says: str) -> None:
    start = time.monotonic()
    with pytest.raises(CostlyTemplateError, match=says):
        inspect_chat_template(Checkpoint(template), [])
    with pytest.raises(CostlyTemplateError, match=says):
        SpecialTokens.from_processor(Checkpoint({"default": ROLES, "tool_use": template}))
    assert time.monotonic() - start < 100


@pytest.mark.parametrize(
    "template",
    [
        ROLES,
        "{{ nothing.at.all }}",
        "{% broken",
        "{{ raise_exception('no') }}",
        "{% generation %}a{% endgeneration %}",
        None,
    ],
)
def test_others_are_left_to_what_judges_them(template: Any) -> None:
    inspect_chat_template(Checkpoint(template), [])


WAITING = {
    "memory": "{% if 'boom' in m.content %}{{ 'x' * 9999999999 }}{% endif %}",
    "output": "{% if 'boom' in m.content %}{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endif %}",
    "time": "{% if 'boom' in m.content %}" + "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3 + "{% endif %}",
}


@pytest.mark.parametrize("what", ["memory", "output", pytest.param("time", marks=pytest.mark.slow)])
def test_words_that_a_template_waits_for_cost_their_conversation_alone(what: str) -> None:
    checkpoint = Checkpoint(ROLES.replace("{% endfor %}", WAITING[what] + "{% endfor %}"))
    inspect_chat_template(checkpoint, [])  # harmless words show nothing
    for _ in range(2):
        with pytest.raises(CostlyTemplateError, match="more than") as refused:
            render_chat(checkpoint, [{"role": "user", "content": "boom"}])
        assert "\n" not in str(refused.value)
        assert render_chat(checkpoint, [{"role": "user", "content": "quiet"}]) == "<|user|>quiet"


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A renderer of this test's own."""
    own = _template_process._Renderer()
    monkeypatch.setattr(_template_process, "_RENDERER", own)
    yield own
    own._end()


def test_a_renderer_that_somebody_ends_is_started_again(renderer: Any) -> None:
    checkpoint = Checkpoint(ROLES)
    for _ in range(2):
        assert render_chat(checkpoint, [{"role": "user", "content": "a"}]) == "<|user|>a"
        os.kill(renderer._child[0].pid, signal.SIGKILL)


def test_a_renderer_that_ends_again_is_not_called_costly_rendering(
    renderer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = _template_process._start_child

    def start_and_kill() -> Any:
        child = start()
        child[0].kill()
        return child

    monkeypatch.setattr(_template_process, "_start_child", start_and_kill)
    with pytest.raises(CostlyTemplateError, match=r"not rendered: its renderer ended twice \(SIGKILL\)"):
        render_chat(Checkpoint(ROLES), [{"role": "user", "content": "a"}])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_process_has_a_renderer_of_its_own_and_complains_of_nothing() -> None:
    code = """
import os, threading, time
from medvistagym_core.protocol import _template_process as process
assert process.render_template("{{ a }}", {"a": 1}) == "1"
mine = process._RENDERER._child[0].pid
slow = "{% for a in range(999) %}" * 2 + "{% endfor %}" * 2
threading.Thread(target=process.render_template, args=(slow, {}), daemon=True).start()
while not process._RENDERER._lock.locked():
    time.sleep(0.001)
if (child := os.fork()) == 0:
    assert process.render_template("{{ a }}", {"a": 2}) == "2"
    assert process._RENDERER._child[0].pid != mine
    raise SystemExit
assert os.waitpid(child, 0)[1] == 0
assert process.render_template("{{ a }}", {"a": 3}) == "3"
assert process._RENDERER._child[0].pid == mine
"""
    ended = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_template_that_fails_says_so() -> None:
    with pytest.raises(ChatTemplateError, match="TemplateError: only for weather"):
        render_chat(Checkpoint("{{ raise_exception('only for weather') }}"), [])
    with pytest.raises(ChatTemplateError, match="SecurityError"):
        render_chat(Checkpoint("{{ namespace(__class__=1) }}"), [])


def test_what_is_no_json_reaches_a_template_as_the_name_of_its_type() -> None:
    block = {"type": "image", "image": object(), "size": (1, 2.5), "seen": True, "note": None}
    message = {"role": "user", "content": [block], "nothing": None}
    rendered = render_chat(Checkpoint("{{ messages | tojson }}"), [message])
    expected = [{"type": "image", "image": "<object>", "size": [1, 2.5], "seen": True, "note": None}]
    assert json.loads(rendered) == [{"role": "user", "content": expected}]
