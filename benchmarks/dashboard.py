"""A picture of the dashboard: `python -m benchmarks.dashboard --into docs/dashboard.png`.

It needs Prometheus (`make prometheus`) and matplotlib. A real Prometheus scrapes three replicas while calls come: first
a load that they carry, then three times what they can carry, then the first load again with wrong calls among it; at
the end a version cannot be loaded. Every panel of deploy/components/monitoring is drawn from what Prometheus answers to
the panel's own queries. Grafana would draw the same; it is in no package registry.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
import uvloop
from matplotlib import pyplot as plt
from PIL import Image

from benchmarks import bodies
from benchmarks.cells import BATCHES, made_up_cells, made_up_spec, parts, write_compiled
from benchmarks.overload import Ask, callers, closed_loop, open_loop
from benchmarks.server_process import ServerProcess, our_server
from model.encoder_totalvi import EncoderTOTALVI
from tests.deploy.monitoring import dashboard, filled_in, panels, rule_groups
from tests.end_to_end.prometheus import Prometheus

N_GENES, N_PROTEINS, N_HIDDEN = 1000, 50, 2048
N_REPLICAS, CELLS_A_CALL = 3, 32
FLAGS = ("--max-queue-cells", 512, "--max-batch-cells", 128)
TOKEN = "for-one-picture-only"
RATE_INTERVAL = "10s"
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Line:
    """A series of a panel: its legend, seconds since the beginning, and values."""

    legend: str
    times: list[float]
    values: list[float]


async def put_load_on(replicas: Sequence[ServerProcess], calls: Sequence[bytes], seconds: float) -> None:
    """The three loads, each for so long."""
    async with contextlib.AsyncExitStack() as stack:
        asks: list[Ask] = []
        for replica in replicas:
            asks += await stack.enter_async_context(callers(replica.facts))
        peak = await closed_loop(asks, calls, 8)
        await open_loop(asks, calls, 0.4 * peak, seconds)
        await open_loop(asks, calls, 3 * peak, seconds)
        # Each tenth is no message.
        await open_loop(
            asks, [body if number % 10 else b"\xff" for number, body in enumerate(calls)], 0.4 * peak, seconds
        )


def lines(prometheus: Prometheus, panel: dict[str, Any], begin_s: float, end_s: float) -> list[Line]:
    """What a panel shows."""
    found = []
    for target in panel["targets"]:
        expression = filled_in(target["expr"], rate_interval=RATE_INTERVAL)
        for series in prometheus.ask("query_range", query=expression, start=begin_s, end=end_s, step=1)["result"]:
            labels = series["metric"]
            legend = re.sub(r"{{(\w+)}}", lambda name, labels=labels: labels.get(name[1], ""), target["legendFormat"])
            times, values = zip(*series["values"], strict=True)
            found.append(Line(legend.strip(), [at - begin_s for at in times], list(map(float, values))))
    return sorted(found, key=lambda line: line.legend) if len(panel["targets"]) == 1 else found


def recorded(seconds: float) -> dict[str, list[Line]]:
    """Run it all; what each panel shows, by its title."""
    spec = dataclasses.replace(made_up_spec(N_GENES, N_PROTEINS), n_hidden=N_HIDDEN)
    encoder = EncoderTOTALVI(
        N_GENES + N_PROTEINS, spec.n_latent, [len(BATCHES)], n_hidden=N_HIDDEN, distribution="normal"
    ).eval()
    calls = [bodies.message(cells, narrow=True) for cells in parts(made_up_cells(spec, 1024), CELLS_A_CALL)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        models = Path(folder, "models")
        write_compiled(models / "pbmc" / "1" / "encoder.pt", encoder, spec)
        (token := Path(folder, "token")).write_text(TOKEN)
        flags = (*FLAGS, "--admin-token-file", token)
        replicas = [stack.enter_context(our_server(models, *flags)) for _ in range(N_REPLICAS)]
        pods = {f"totalvi-serve-{number}": replica.facts["admin_port"] for number, replica in enumerate(replicas)}
        prometheus = stack.enter_context(Prometheus(Path(folder, "prometheus"), pods, rule_groups()))
        begin_s = time.time() + 5
        uvloop.run(put_load_on(replicas, calls, seconds))
        (models / "pbmc" / "2").mkdir()
        (models / "pbmc" / "2" / "encoder.pt").write_bytes(b"no model")
        for replica in replicas:
            assert fails_to_load(replica.facts["admin_port"])
        asyncio.run(asyncio.sleep(8))
        return {panel["title"]: lines(prometheus, panel, begin_s, time.time()) for panel in panels()}


def fails_to_load(port: int) -> bool:
    """Whether a replica refuses to load its model anew."""
    url = f"http://127.0.0.1:{port}/admin/models/pbmc/load"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.post(url, headers=headers, timeout=60, trust_env=False).status_code == 422


def shown(value: float, unit: str) -> str:
    """A number on an axis, with its unit; bytes are in MiB."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "bytes":
        return f"{value:g} MiB"
    if unit == "s":
        return f"{value * 1e3:g} ms" if 0 < value < 1 else f"{value:g} s"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def draw(shows: dict[str, list[Line]], into: Path) -> None:
    """Every panel in its place, under the title of its row."""
    mpl.use("Agg")
    plt.rcParams.update(
        {"font.size": 7, "font.family": "DejaVu Sans", "axes.prop_cycle": plt.cycler(color=plt.cm.tab10.colors)}
    )
    board = dashboard()["panels"]
    end_s = max(line.times[-1] for some in shows.values() for line in some)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board)
    width_in, height_in = 14.0, height * 0.235
    figure = plt.figure(figsize=(width_in, height_in), facecolor="#f4f5f5")
    for panel in board:
        at = panel["gridPos"]
        left, top = at["x"] / 24, 1 - at["y"] / height
        if panel["type"] == "row":
            figure.text(left + 0.008, top - 0.7 / height, panel["title"], weight="bold", size=9, va="center")
            continue
        wide, high = at["w"] / 24, at["h"] / height
        card = plt.Rectangle(
            (left + 0.003, top - high + 0.001),
            wide - 0.006,
            high - 0.003,
            transform=figure.transFigure,
            facecolor="white",
            edgecolor="#dcdee2",
            linewidth=0.6,
            zorder=-1,
        )
        figure.patches.append(card)
        figure.text(left + 0.008, top - 0.75 / height, panel["title"], size=8, va="center")
        axes = figure.add_axes((left + 0.042, top - high + 2.35 / height, wide - 0.052, high - 3.8 / height))
        axes.set_xlim(0, end_s)
        draw_lines(axes, shows[panel["title"]], panel["fieldConfig"]["defaults"]["unit"])
        if shows[panel["title"]]:
            draw_legend(axes, shows[panel["title"]], -0.036 / (wide - 0.052))
    figure.savefig(into, dpi=105, facecolor=figure.get_facecolor())
    # A palette is a third of the size, and nobody sees it.
    Image.open(into).convert("RGB").quantize(200, dither=Image.Dither.NONE).save(into, optimize=True)


def draw_lines(axes: Any, some: Sequence[Line], unit: str) -> None:
    """The series of one panel."""
    for number, line in enumerate(some):
        values = [value / MIB for value in line.values] if unit == "bytes" else line.values
        axes.plot(line.times, values, linewidth=1.0, color=f"C{number % 10}", label=line.legend)
        axes.fill_between(line.times, values, alpha=0.07, color=f"C{number % 10}", linewidth=0)
    axes.set_ylim(bottom=0)
    if unit == "percentunit":
        axes.set_ylim(top=1.05)
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, unit))
    axes.xaxis.set_major_formatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}")
    axes.grid(color="#e6e7ea", linewidth=0.5)
    axes.tick_params(length=0, colors="#5b5e66", labelsize=6.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not some:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing: no GPU here", ha="center", va="center", color="#8e9097", transform=axes.transAxes)


def draw_legend(axes: Any, some: Sequence[Line], left: float) -> None:
    """The names of the series, below."""
    longest = max(len(line.legend) for line in some)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(left, -0.09),
        ncols=1 if longest > 30 else 2 if longest > 18 else 3,
        frameon=False,
        fontsize=6.5,
        handlelength=1.0,
        columnspacing=1.0,
        handletextpad=0.4,
        labelspacing=0.25,
        borderpad=0.2,
    )


def main() -> None:
    """Run, or read what an earlier run has kept, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, required=True, help="the picture, a PNG")
    parser.add_argument("--seconds", type=float, default=45.0, help="of each of the three loads")
    parser.add_argument(
        "--kept", type=Path, help="file of what an earlier run has shown; written where it is not there"
    )
    options = parser.parse_args()
    if options.kept is not None and options.kept.exists():
        kept = json.loads(options.kept.read_text())
        shows = {title: [Line(**line) for line in some] for title, some in kept.items()}
    else:
        shows = recorded(options.seconds)
        if options.kept is not None:
            found = {title: [dataclasses.asdict(line) for line in some] for title, some in shows.items()}
            options.kept.write_text(json.dumps(found))
    draw(shows, options.into)


if __name__ == "__main__":
    main()
