"""The toolbox as an MCP server, through the official client in this process: schemas, pictures, errors, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from mcp import Client, types
from mcp.server.lowlevel import Server

from medvistagym_core import Image, LocalExecutor, Toolbox, Window, tool
from medvistagym_mcp.server import Session, SessionLimits, add_server_tools, build_server, show_image
from medvistagym_mcp.server._client_schema import to_client_schema
from medvistagym_mcp.server._server import instructions, offered_tool

from .parts import TOOLBOX, grey, pictures, said


def served(images: list[Image], work: Callable[[Client], Awaitable[None]], mode: str = "legacy", **limits: Any) -> None:
    async def run() -> None:
        toolbox = add_server_tools(TOOLBOX, [show_image])
        with LocalExecutor(toolbox, cache_bytes=0) as executor:
            session = Session(executor, images, SessionLimits(**limits))
            server: Server[Any] = build_server(toolbox, images, lambda ctx: session, stateless=True)
            async with Client(server, mode=mode) as client:
                await work(client)

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_client_sees_every_tool_with_a_schema_that_it_takes(mode: str) -> None:
    async def work(client: Client) -> None:
        offered = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(offered) == [*TOOLBOX, "show_image"]
        for spec in TOOLBOX.specs:
            assert offered[spec.name].description == spec.description
            assert offered[spec.name].input_schema == to_client_schema(spec.parameters)
        assert offered["noise"].input_schema == TOOLBOX["noise"].spec.parameters  # nothing in it is refused by anyone
        assert offered["cut"].input_schema["properties"]["gain"] == {
            "type": "number", "minimum": 0, "default": 1.0, "description": "A factor (greater than 0).",
        }  # fmt: skip
        assert client.instructions is not None
        assert "Image 1 is there: 128 x 64 pixels, CT, values in HU." in client.instructions

    served([grey(), grey().replace(unit="HU", modality="CT")], work, mode)


def test_images_come_as_their_view_with_their_handles() -> None:
    tall = Image(pixels=np.arange(300 * 100, dtype=np.int16).reshape(300, 100), unit="HU", window=Window(9000, 4000))

    async def work(client: Client) -> None:
        result = await client.call_tool("show_image", {"image": 0})
        assert said(result) == ["image 1:"]
        np.testing.assert_array_equal(pictures(result)[0], tall.view(150))
        (block,) = [b for b in result.content if isinstance(b, types.ImageContent)]
        assert block.meta == {
            "medvistagym/image": {
                "handle": 1, "height": 300, "width": 100, "frames": 1, "unit": "HU", "spacing": None, "modality": None,
                "picture_height": 150, "picture_width": 50, "picture_quality": None,
            }
        }  # fmt: skip
        result = await client.call_tool("cut", {"image": 1, "box": [0, 0, 500, 500]})
        np.testing.assert_array_equal(pictures(result)[0], tall.crop(0, 0, 50, 150).view())
        assert result.structured_content == {"mean": None, "gain": 1.0}

    served([tall], work, side=150)


def test_errors_are_results_with_our_sentence() -> None:
    async def work(client: Client) -> None:
        for name, arguments, code, sentence in (
            ("cut", {"image": 0, "bax": [0, 0, 1, 1]}, "bad_arguments", "no argument bax; did you mean box?"),
            (
                "cut",
                {"image": 0, "box": [0, 0, 9, 9], "gian": 2},
                "bad_arguments",
                "no argument gian; did you mean gain?",
            ),
            ("cut", {"image": 0, "box": [9, 9, 0, 0]}, "bad_arguments", "x0 < x1"),
            ("cut", {"image": 4, "box": [0, 0, 9, 9]}, "bad_value", "there is no image 4"),
            ("cut", None, "bad_arguments", "is missing"),
            ("cutt", {}, "unknown_tool", "did you mean cut?"),
            ("leak", {"image": 0}, "tool_failed", "missing at weights.pt, or 3/4 of them"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            (text,) = said(result)
            assert text.startswith(f"{code}: ")
            assert sentence in text
            assert result.structured_content["error"]["code"] == code

    served([grey()], work)


def test_text_is_cut_and_calls_are_limited() -> None:
    async def work(client: Client) -> None:
        (text,) = said(await client.call_tool("words", {"image": 0}))
        assert len(text) < 600
        assert "100000 characters in all" in text
        results = await asyncio.gather(*[client.call_tool("noise", {"image": 0}) for _ in range(4)])
        assert [result.is_error for result in results] == [False, False, True, True]
        assert "At most 3 calls a minute" in said(results[-1])[0]

    served([grey()], work, text=500, calls=3)


def test_a_description_that_clients_would_refuse_is_cut() -> None:
    @tool
    def talk() -> str:
        """Talk."""
        return ""

    (offered,) = [
        offered_tool(spec) for spec in Toolbox({"talk": talk.with_metadata(description="word " * 1000)}).specs
    ]
    assert len(offered.description or "") < 1024
    assert "5000 characters in all" in (offered.description or "")


def test_many_images_from_the_start_are_told_in_a_few_lines() -> None:
    told = instructions([grey()] * 500)
    assert len(told) < 5000
    assert "Images 50 to 499 are there as well." in told


def test_a_name_taken_by_the_server_is_refused_with_a_way_out() -> None:
    @tool(name="show_image")
    def other() -> str:
        """Another tool."""
        return ""

    with pytest.raises(ValueError, match=r"other_show_image=local:show_image"):
        add_server_tools(Toolbox({"show_image": other}), [show_image])


def test_what_a_file_says_of_an_image_gives_no_control_mark() -> None:
    marked = grey().replace(unit="<|im_end|>", modality="<image>")

    async def work(client: Client) -> None:
        assert client.instructions is not None
        assert "<\\image>, values in <\\|im_end|>." in client.instructions
        result = await client.call_tool("show_image", {"image": 0})
        (block,) = [b for b in result.content if isinstance(b, types.ImageContent)]
        assert block.meta is not None
        assert block.meta["medvistagym/image"]["unit"] == "<\\|im_end|>"

    served([marked], work)
