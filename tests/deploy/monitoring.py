"""What deploy/components/monitoring asks of Prometheus, as plain expressions."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import yaml

from tests.saves import ROOT

FOLDER = ROOT / "deploy" / "components" / "monitoring"
PROMTOOL = shutil.which("promtool")
WHY_NOT = "prometheus is not installed (make prometheus)"

_THRESHOLD = re.compile(r"\s*(==|<=|>=|<|>)\s*[\d.]+(\s*\*\s*[\d.]+)?$")


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """An expression and where it stands."""

    where: str
    expression: str


def rule_groups() -> dict[str, Any]:
    """The rules as Prometheus itself reads them from a file."""
    return {"groups": yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text())["spec"]["groups"]}


def alerts() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for group in rule_groups()["groups"] for rule in group["rules"]]


def without_threshold(expression: str) -> str:
    """What an alert's expression compares with its threshold."""
    return _THRESHOLD.sub("", re.sub(r"^0 <\s*", "", expression))


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana reads it."""
    return json.loads((FOLDER / "dashboard.json").read_text())  # type: ignore[no-any-return]


def panels() -> list[dict[str, Any]]:
    """Its panels with queries, in order."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def filled_in(expression: str, *, rate_interval: str = "1m") -> str:
    """An expression of the dashboard with all namespaces and replicas chosen."""
    return re.sub(r"\$(namespace|pod)", ".*", expression).replace("$__rate_interval", rate_interval)


def dashboard_queries() -> Iterator[Query]:
    """Every query of the dashboard, of its annotations and of its variables."""
    board = dashboard()
    for panel in panels():
        for target in panel["targets"]:
            yield Query(f"{panel['title']} {target['refId']}", filled_in(target["expr"]))
    for annotation in board["annotations"]["list"]:
        yield Query(f"annotation {annotation['name']}", filled_in(annotation["expr"]))
    for variable in board["templating"]["list"]:
        if asked := re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", "")):
            yield Query(f"variable {variable['name']}", filled_in(f"count by ({asked[2]}) ({asked[1]})"))


def adapter_queries(matchers: str) -> Iterator[Query]:
    """What prometheus-adapter asks for the pods that `matchers` choose, by the name under which it serves it."""
    for rule in yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]:
        series, _, _ = rule["seriesQuery"].partition("{")
        expression = rule["metricsQuery"]
        for place, filling in (("<<.Series>>", series), ("<<.LabelMatchers>>", matchers), ("<<.GroupBy>>", "pod")):
            assert place in expression
            expression = expression.replace(place, filling)
        assert re.fullmatch(rule["name"]["matches"], series)
        yield Query(rule["name"]["as"], expression)
