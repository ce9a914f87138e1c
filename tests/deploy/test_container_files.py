"""The commands in the files for containers and machines are commands of `sltt`, with options that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from sltt_core.cli.main import main

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, list[str]]:
    """Return the arguments of each `sltt` in the files."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    unit = (ROOT / "deploy" / "sltt.service").read_text()
    services = yaml_parse((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    found = {"Dockerfile": json.loads(re.findall(r"^CMD (.+)$", dockerfile, re.MULTILINE)[-1])}
    found["sltt.service"] = re.findall(r"^ExecStart=\S+/sltt (.+)$", unit, re.MULTILINE)[0].split()
    found |= {f"compose.yaml: {name}": entry["command"] for name, entry in services.items() if "build" in entry}
    for file in ("Caddyfile", "nginx.conf"):
        found[file] = re.findall(r"`sltt (serve[^`]*)`", (ROOT / "deploy" / file).read_text())[0].split()
    return found


@pytest.mark.parametrize("name", commands())
def test_the_command_exists_with_its_options(name: str) -> None:
    arguments = commands()[name]
    with main.make_context("sltt", list(arguments)) as context:
        command = main.get_command(context, arguments[0])
        assert command is not None
        with command.make_context(arguments[0], arguments[1:], parent=context) as parsed:
            assert parsed.params
