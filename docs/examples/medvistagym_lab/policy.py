"""A policy: writes the turns.

medvistagym eval --task lab_quadrants --policy lab_looker
"""

from medvistagym_core import hookimpl


class Looker:
    """Calls `brightest` once, where there is such a tool, and answers with what it says."""

    name = "lab_looker"

    def __init__(self, toolbox, protocol):
        self.sampling = {}  # settings that it samples with, for the record
        self._protocol = protocol
        self._tool = "brightest" if "brightest" in toolbox else None

    def act(self, observations):
        """A turn for each observation; what it must remember of an episode it keeps in `policy_state`."""
        from medvistagym_core import ToolCall

        turns = []
        for seen in observations:
            if self._tool and seen.num_turns == 0:
                call = ToolCall(name=self._tool, arguments={"image": 0})
                turns.append(self._protocol.format_turn("Where is it brightest?", [call]))
                continue
            found = next((result.data["quadrant"] for result in seen.results if result.data), None)
            turns.append(self._protocol.format_turn("I answer.", answer=found or "unclear"))
        return turns


def make_looker(task, toolbox, config, *, seed=0):
    return Looker(toolbox, config.protocol)


@hookimpl
def medvistagym_policies():
    return {"lab_looker": make_looker}
