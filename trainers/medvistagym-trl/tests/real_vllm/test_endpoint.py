"""A policy behind the endpoint of a real `vllm serve`, whose tool parser reads the calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvistagym_core.rollouts import ChatCompletionsClient, EndpointPolicy, rollout

ANSWER = r"<answer>(dark|bright)</answer>"


class Guided(ChatCompletionsClient):
    """Lets vLLM write an answer after the call that the tiny model has learnt to make, whatever it would have written."""

    pictures = 0

    def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        shown = [
            part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
        ]
        self.pictures = max(self.pictures, sum(part["type"] == "image_url" for part in shown))
        if any(message["role"] == "assistant" for message in body["messages"]):
            body = {**body, "structured_outputs": {"regex": ANSWER}}
        return super().complete(body)


def test_an_endpoint_policy_calls_tools_and_shows_their_pictures(serve: str, toy: Any) -> None:
    client = Guided(f"{serve}/v1")
    assert client.list_models() == ["toy"]
    policy = EndpointPolicy(client, "toy", toy.context.toolbox, temperature=0.0, max_tokens=64)
    played = list(rollout(policy, toy.task, toy.context.toolbox, "test", range(4), toy.context.config))
    for each in played:
        assert each.outcome.ended == "answered"
        (call,) = each.turns[0].calls
        assert (call.name, call.arguments) == ("mirror", {"image": 0})
        assert call.error is None
        assert (call.id or "").startswith("chatcmpl-tool")  # read by vLLM's parser, not by ours
        assert len(each.images) == 2
    assert client.pictures == 2
