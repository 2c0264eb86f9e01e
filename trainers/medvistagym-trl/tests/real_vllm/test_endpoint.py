"""A policy behind the endpoint of a real `vllm serve`, whose tool parser reads the calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvistagym_core.rollouts import ChatCompletionsClient, EndpointPolicy, rollout


class Watched(ChatCompletionsClient):
    """Counts the pictures of the requests."""

    pictures = 0

    def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        shown = [
            part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
        ]
        self.pictures = max(self.pictures, sum(part["type"] == "image_url" for part in shown))
        return super().complete(body)


def test_an_endpoint_policy_calls_tools_and_shows_their_pictures(serve: str, toy: Any) -> None:
    """What the tiny model writes after its first call is its own affair: it has hardly learnt anything."""
    client = Watched(f"{serve}/v1")
    assert client.list_models() == ["toy"]
    policy = EndpointPolicy(client, "toy", toy.context.toolbox, temperature=0.5, max_tokens=64)
    played = list(rollout(policy, toy.task, toy.context.toolbox, "test", range(8), toy.context.config))
    calls = [call for each in played for turn in each.turns for call in turn.calls]
    made = [call for call in calls if (call.name, call.arguments, call.error) == ("mirror", {"image": 0}, None)]
    assert made
    assert all((call.id or "").startswith("chatcmpl-tool") for call in made)  # read by vLLM's parser, not by ours
    assert client.pictures >= 2
