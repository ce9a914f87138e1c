"""docs/operations.md: its costs are computed, its alarms deployed, its queries and metrics those of the code."""

from __future__ import annotations

import re

from scripts import costs
from sltt_core.api.http import Facts, Request
from sltt_core.api.request_log import RequestLog
from sltt_core.server.metrics import COUNTERS, GAUGES
from tests.deploy.templates import load
from tests.deploy.test_template import PATH
from tests.docs.documents import read, rows, section

DOCUMENT = "docs/operations.md"


def test_the_tables_of_costs_are_computed() -> None:
    text = read(DOCUMENT)
    for table in costs.tables():
        assert table in text, table
    assert f"at most {costs.metrics()}, or ${costs.metrics() * costs.METRIC:.2f}" in text.replace("\n", " ")


def test_the_units_are_those_of_the_table() -> None:
    units = {row[0]: row[2] for row in rows(section("docs/table.md", "## Costs"))}
    assert units["… of one small change"] == f"write: {costs.append_units(1)}"
    assert units["… of 98 small changes"].startswith(f"write: {costs.append_units(98)},")


def test_every_alarm_is_described() -> None:
    alarms = {
        name.removesuffix("Alarm")
        for name, resource in load(PATH)["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert {row[0] for row in rows(section(DOCUMENT, "## Alarms"))} == {"Alarm", *alarms}


def test_the_queries_name_members_of_the_line() -> None:
    facts = Facts()
    facts.principal, facts.project, facts.appended, facts.calls = "anna", "ruth", 1, 1
    headers = {"x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793"}
    error = dict.fromkeys(("error", "message", "hint", "because"))
    request = Request("POST", "/api/changes", "", headers)
    line = RequestLog().line(request, facts, status=500, seconds=0, size=0, request_id="i", error=error)
    members = set(re.findall(r'"(\w+)": ', str(line)))
    queries = "\n".join(line for line in section(DOCUMENT, "## Queries").splitlines() if line.startswith("    "))
    made = set(re.findall(r" as (\w+)", queries))
    words = "fields filter sort desc limit stats count by pct avg sum max bin ispresent and or like as h p"
    named = set(re.findall(r"[A-Za-z]\w*", re.sub(r'"[^"]*"', "", queries))) - set(words.split())
    assert named - made <= members
    assert {"requestId", "attempts", "cold", "xAmznTraceId"} <= named


def test_every_metric_of_a_server_is_described() -> None:
    text = section(DOCUMENT, "## A server")
    names = {*(f"sltt_{name}_total" for name in COUNTERS), *(f"sltt_{name}" for name in GAUGES)}
    described = set(re.findall(r"`(sltt_\w+)`", text))
    assert names <= described
    assert described - names == {"sltt_latency_seconds", "sltt_faults_total", "sltt_commit_group_size"}
