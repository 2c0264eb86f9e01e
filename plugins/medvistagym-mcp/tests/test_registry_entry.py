"""The entry for the MCP Registry says what the package is, and starts it with options that it takes."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parents[1]
ENTRY = json.loads((HERE / "server.json").read_text("utf-8"))
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_entry_and_the_package_name_each_other():
    (package,) = ENTRY["packages"]
    assert f"mcp-name: {ENTRY['name']}\n" in (HERE / "README.md").read_text("utf-8")  # how the registry knows the owner
    assert package["identifier"] == PROJECT["name"]
    assert {package["version"], ENTRY["version"]} == {PROJECT["version"]}
    assert package["identifier"] in PROJECT["scripts"]  # what `uvx` starts
    assert len(ENTRY["description"]) <= 100
    assert package["transport"] == {"type": "stdio"}


def test_what_is_installed_with_it_are_distributions_of_this_project():
    for argument in ENTRY["packages"][0]["runtimeArguments"]:
        assert (HERE.parent / argument["value"] / "pyproject.toml").is_file()


def test_the_program_serves_with_these_options(tmp_path):
    (package,) = ENTRY["packages"]
    arguments = [part for argument in package["packageArguments"] for part in (argument["name"], argument["value"])]
    arguments = [part.format(folder=tmp_path) for part in arguments]
    start = f"import sys; sys.argv[1:] = {arguments!r}; from medvistagym_mcp._server_program import run_program; run_program()"
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        },
    }
    ran = subprocess.run(
        [sys.executable, "-c", start], input=json.dumps(hello) + "\n", capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout.splitlines()[0])["result"]["serverInfo"]["name"]
