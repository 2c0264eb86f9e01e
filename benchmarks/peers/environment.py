"""The doubling task of `benchmarks/environment.py` in a peer's own terms, run by the peers' own interpreter.

`python environment.py PEER ENVS STEPS` plays once for each line that it reads, and answers with steps a second of its
processor time. The texts are those of the benchmark: of five steps three are calls, one is an answer and one begins the next
episode. Each peer parses the call with a regular expression and `json`, as their own tools do, and checks that the name is
known and the number is one. None has a schema, typed errors, images or a record of the episode.
"""

import json
import logging
import random
import re
import sys
import threading
import time

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
CASES = [(f"Twice {index}?", str(2 * index)) for index in range(1000)]


def texts(count, steps, rng):
    def turn(step):
        if step % 5 == 4:
            return ""
        if step % 5 == 3:
            return f"<think>So it is.</think><answer>{rng.randrange(2000)}</answer>"
        call = {"name": "double", "arguments": {"number": rng.randrange(10**9)}}
        return f"<think>I double it.</think><tool_call>{json.dumps(call)}</tool_call>"

    return [[turn(step) for _ in range(count)] for step in range(steps)]


def called(text):
    """The number to double, or None."""
    found = CALL.search(text)
    if found is None:
        return None
    try:
        call = json.loads(found.group(1))
    except ValueError:
        return None
    number = call.get("arguments", {}).get("number")
    return number if call.get("name") == "double" and isinstance(number, int) else None


def answered(text):
    found = ANSWER.search(text)
    return found.group(1).strip() if found else None


def gem(count):
    """`gem.make_vec` around an environment and a tool; its vector begins episodes anew by itself."""
    import gem as peer
    from gem.core import Env
    from gem.tools.base_tool import BaseTool
    from gem.tools.tool_env_wrapper import ToolEnvWrapper
    from gem.vector.vector_env import AutoresetMode

    class Double(BaseTool):
        tool_type = "double"

        def instruction_string(self):
            return "Double a number."

        def execute_action(self, action):
            number = called(action)
            return number is not None, number is None, "" if number is None else str(2 * number), action

    class Doubling(Env):
        def __init__(self, seed=0):
            self.rng = random.Random(seed)

        def reset(self, seed=None):
            if seed is not None:
                self.rng = random.Random(seed)
            self.question, self.right = self.rng.choice(CASES)
            return self.question, {}

        def step(self, action):
            return "", float(answered(action) == self.right), True, False, {}

    peer.register("bench:Doubling-v0", Doubling)
    vector = peer.make_vec(["bench:Doubling-v0"] * count, wrappers=[lambda env: ToolEnvWrapper(env, [Double()])])
    vector.autoreset_mode = AutoresetMode.NEXT_STEP

    def play(said):
        for actions in said:
            vector.step(actions)

    return lambda seed: vector.reset(seed=seed), play


def skyrl_gym(count):
    """One environment after another, as its generator steps them; an episode that ended is made anew."""
    import skyrl_gym as peer
    from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
    from skyrl_gym.tools.core import ToolGroup, tool

    class Doubles(ToolGroup):
        def __init__(self):
            super().__init__(name="doubles")

        @tool
        def double(self, number):
            return str(2 * number)

    class Doubling(BaseTextEnv):
        def __init__(self, right):
            super().__init__()
            self.max_turns, self.right = 6, right
            self.init_tool_groups([Doubles()])

        def step(self, action):
            self.turns += 1
            number = called(action)
            if number is None:
                reward = float(answered(action) == self.right)
                return BaseTextEnvStepOutput(observations=[], reward=reward, done=True, metadata={})
            shown = {"role": "user", "content": self._execute_tool("doubles", "double", (number,))}
            return BaseTextEnvStepOutput(observations=[shown], reward=0.0, done=False, metadata={})

    peer.register(id="doubling", entry_point=Doubling)
    rng = random.Random(0)

    def begun():
        question, right = rng.choice(CASES)
        env = peer.make("doubling", right=right)
        env.init([{"role": "user", "content": question}])
        return env

    envs = [begun() for _ in range(count)]
    over = [False] * count

    def play(said):
        for actions in said:
            for k, action in enumerate(actions):
                if over[k]:
                    envs[k], over[k] = begun(), False
                else:
                    over[k] = envs[k].step(action)["done"]

    def reset(seed):
        rng.seed(seed)
        for k in range(count):
            envs[k], over[k] = begun(), False

    return reset, play


def openenv(count):
    """Its server and its clients, one WebSocket session an environment, in one process so that all their time counts."""
    import uvicorn
    from openenv.core.env_server.http_server import create_fastapi_app
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, Observation, State
    from openenv.core.generic_client import GenericEnvClient

    class Said(Action):
        text: str

    class Seen(Observation):
        text: str = ""

    class Doubling(Environment):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self):
            super().__init__()
            self.rng = random.Random(0)

        def reset(self, seed=None, episode_id=None, **kwargs):
            if seed is not None:
                self.rng = random.Random(seed)
            question, self.right = self.rng.choice(CASES)
            return Seen(text=question)

        def step(self, action, timeout_s=None, **kwargs):
            number = called(action.text)
            if number is None:
                return Seen(done=True, reward=float(answered(action.text) == self.right))
            return Seen(text=str(2 * number), reward=0.0)

        @property
        def state(self):
            return State()

    app = create_fastapi_app(Doubling, Said, Seen, max_concurrent_envs=count)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    clients = [GenericEnvClient(base_url=f"http://127.0.0.1:{port}") for _ in range(count)]
    over = [False] * count

    def play(said):
        for actions in said:
            for k, action in enumerate(actions):
                if over[k]:
                    clients[k].reset()
                    over[k] = False
                else:
                    over[k] = clients[k].step({"text": action}).done

    def reset(seed):
        for k, client in enumerate(clients):
            client.reset(seed=seed + k)
            over[k] = False

    return reset, play


def main():
    name, count, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    out, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.INFO)
    reset, play = {"gem": gem, "skyrl-gym": skyrl_gym, "openenv": openenv}[name](count)
    for number, _ in enumerate(sys.stdin):
        said = texts(count, steps, random.Random(number))
        reset(number)
        began = time.process_time()
        play(said)
        print(count * steps / (time.process_time() - began), file=out, flush=True)


if __name__ == "__main__":
    main()
