"""What may follow `ray:`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medvistagym_ray.cluster import RayTarget


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", RayTarget()),
        ("auto", RayTarget("auto")),
        ("10.0.0.1:6379", RayTarget("10.0.0.1:6379")),
        ("head:6379?pool=one", RayTarget("head:6379", "one")),
        ("?pool=a_b-2&placement=x/y.yaml", RayTarget(None, "a_b-2", Path("x/y.yaml"))),
    ],
)
def test_it_is_read_and_written(text: str, target: RayTarget) -> None:
    assert RayTarget.parse(text) == target
    assert str(target) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("10.0.0.1", "'10.0.0.1' is no address of Ray: it takes [HOST:PORT][?pool=NAME&placement=FILE], such as"),
        ("host:99999", "'host:99999' is no address of Ray"),
        ("ray://10.0.0.1:10001", "ray://10.0.0.1:10001 is the address of a Ray Client server: run on a machine of"),
        ("h:1?pol=a", "pol=a is no option of ray; did you mean pool? It takes"),
        ("h:1?pool=", "pool= is no option of ray"),
        ("h:1?pool=A b", "the pool 'A b' is no name: a lower-case letter, then letters, digits, - or _, 64 at most"),
    ],
)
def test_what_says_nothing_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        RayTarget.parse(text)
