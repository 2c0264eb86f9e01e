"""What a call costs besides the tool: from the text that a policy wrote to the tool's result, for a tool that does nothing.

`python benchmarks/dispatch.py` runs the contestants in turn, round after round, in one process and on one thread (OpenMP too),
and puts medians into benchmarks/results.json. Times are processor time, except where a tool waits.

- `dispatch.one`: microseconds of a call, one at a time: the text parsed, arguments validated, the tool run, the result made.
  Beside it the same text through what TRL's `GRPOTrainer` calls: its `parse_response` with the prompt and the tools, as in
  `_generate` and `_tool_call_loop` (from the tools it makes their JSON schemas, in every reading, to give arguments their
  types), and the loop's way to call (a function found by name, its error caught, its result as text; nothing validated). TRL is
  given one tool and a short prompt, and both as text, though its trainer decodes the prompt and the answer from tokens first.
  And beside it the `mcp` package's client and server in this process, which are given the arguments ready, as they parse no
  such text.
- `dispatch.grouped`: the same, microseconds a call, when 64 episodes call in one turn; TRL calls them one after another.
- `dispatch.plugins`: the same, with 200 plugins of one tool each beside one plugin; 1 is no difference.
- `dispatch.latency`: milliseconds of wall time of a turn in which 64 episodes call a tool that takes 50 ms and has no kernel
  for several. Beside it a loop as TRL's, and the 50 ms themselves: 0.67 would be 1.5 times them.

The tool is declared not deterministic, so nothing comes from a cache; it has a time limit of 30 s, as tools have by default.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import mcp
import numpy as np
from mcp.server import MCPServer
from rows import Contestant, compare, merge
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import parse_response, qwen3_template

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, TextProtocol, Toolbox, tool

EPISODES: Final = 64
LATENCY_S: Final = 0.05
PROMPT: Final = "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
IMAGE: Final = Image(pixels=np.zeros((64, 64), np.int16), unit="HU")


def nothing(image: Image, at: int = 0) -> str:
    """Do nothing.

    Args:
        image: The image.
        at: Where.
    """
    return "done"


def slow(image: Image, at: int = 0) -> str:
    """Wait, as for a network.

    Args:
        image: The image.
        at: Where.
    """
    time.sleep(LATENCY_S)
    return "done"


def nothing_by_number(image: int, at: int = 0) -> str:
    """Do nothing.

    Args:
        image: The number of the image.
        at: Where.
    """
    return "done"


def slow_by_number(image: int, at: int = 0) -> str:
    """Wait, as for a network.

    Args:
        image: The number of the image.
        at: Where.
    """
    time.sleep(LATENCY_S)
    return "done"


def text_of(name: str, at: int) -> str:
    return f'<think>I look at it.</think><tool_call>{{"name": "{name}", "arguments": {{"image": 0, "at": {at}}}}}</tool_call>'


def toolbox(plugins: int, function: Callable[..., str] = nothing) -> Toolbox:
    registry = Registry()
    name, light = function.__name__, function is nothing  # one that waits is declared as most are, and runs in a thread
    registry.add_tool(tool(deterministic=False, light=light)(function), "plugin_0")
    for k in range(1, plugins):
        registry.add_tool(tool(name=f"{name}_{k}", deterministic=False, light=light)(function), f"plugin_{k}")
    return registry.toolbox()


class Ours:
    """The calls of some episodes through the protocol and the executor."""

    def __init__(self, plugins: int = 1, episodes: int = 1, function: Callable[..., str] = nothing) -> None:
        self._protocol = TextProtocol()
        self._executor = LocalExecutor(toolbox(plugins, function))
        self._stores = [ImageStore([IMAGE]) for _ in range(episodes)]
        self._texts = [text_of(function.__name__, k) for k in range(episodes)]
        for _ in range(4):
            self()

    def __call__(self) -> None:
        parse = self._protocol.parse
        jobs = [(store, parse(text).calls) for store, text in zip(self._stores, self._texts, strict=True)]
        rows = self._executor.run(jobs)
        assert rows[-1][0].text == "done", rows[-1]


class Trl:
    """The calls of some episodes as TRL's trainer reads and makes them: one after another."""

    def __init__(self, episodes: int = 1, function: Callable[..., str] = nothing_by_number) -> None:
        words = Tokenizer(WordLevel({"<unk>": 0, "<eos>": 1}, unk_token="<unk>"))
        self._tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>")
        self._tokenizer.response_template = qwen3_template
        self._tools = {function.__name__: function}
        self._texts = [text_of(function.__name__, k) for k in range(episodes)]
        self()

    def __call__(self) -> None:
        messages = []
        for text in self._texts:
            said = parse_response(self._tokenizer, text, prefix=PROMPT, tools=[*self._tools.values()])  # type: ignore[arg-type]
            for call in said["tool_calls"]:
                function = call["function"]
                name = function["name"]
                result: Any
                try:
                    if name not in self._tools:
                        raise ValueError(f"Tool {name} not found.")
                    result = self._tools[name](**function["arguments"])
                except Exception as error:  # noqa: BLE001 as TRL does
                    result = {"error": str(error)}
                messages.append({"role": "tool", "name": name, "content": str(result)})
        assert messages[-1]["content"] == "done", messages[-1]


def mcp_us(times: int) -> float:
    """Microseconds of a call of the `mcp` package's client, connected to its server in this process."""
    server = MCPServer("bench")

    @server.tool(name="nothing", structured_output=False)
    def _(image: int, at: int = 0) -> str:
        """Do nothing."""
        return "done"

    async def calls() -> float:
        async with mcp.Client(server) as client:
            for _ in range(20):
                await client.call_tool("nothing", {"image": 0, "at": 1})
            began = time.process_time()
            for _ in range(times):
                result = await client.call_tool("nothing", {"image": 0, "at": 1})
            spent = time.process_time() - began
        assert result.content[0].text == "done", result  # type: ignore[union-attr]
        return spent

    return asyncio.run(calls()) / times * 1e6


def us(turn: Callable[[], None], times: int, calls: int = 1) -> Contestant:
    """Microseconds of processor time of a call."""

    def run() -> float:
        began = time.process_time()
        for _ in range(times):
            turn()
        return (time.process_time() - began) / times / calls * 1e6

    return run


def ms(turn: Callable[[], None]) -> Contestant:
    """Milliseconds of wall time of a turn."""

    def run() -> float:
        began = time.perf_counter()
        turn()
        return (time.perf_counter() - began) * 1e3

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each contestant")
    rounds: int = parser.parse_args().rounds

    rows = compare(
        "dispatch.one",
        1,
        "us",
        us(Ours(), 3000),
        {"trl": us(Trl(), 500), "mcp, in process": lambda: mcp_us(100)},
        rounds,
    )
    grouped = us(Ours(episodes=EPISODES), 60, EPISODES)
    rows += compare("dispatch.grouped", EPISODES, "us", grouped, {"trl": us(Trl(EPISODES), 8, EPISODES)}, rounds)
    many = us(Ours(200, EPISODES), 60, EPISODES)
    rows += compare("dispatch.plugins", 200, "us", many, {"one plugin": grouped}, 3 * rounds)
    waiting = {"trl, one after another": ms(Trl(EPISODES, slow_by_number)), "one latency": lambda: LATENCY_S * 1e3}
    rows += compare("dispatch.latency", EPISODES, "ms", ms(Ours(1, EPISODES, slow)), waiting, min(rounds, 7))
    merge(rows)


if __name__ == "__main__":
    main()
