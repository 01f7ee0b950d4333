import { counted, duration, whole } from "../frame/words";
import type { Stats } from "../service/types";
import { Chart, type Series } from "./chart";
import { nReplicas, silence, stats } from "./watching";

const PHASES = ["queue", "compute", "decode", "encode"] as const;
/** What the service remembers, in seconds. */
const REMEMBERED_S = 600;
const TONES = ["a", "b", "c", "d"] as const;

/** How the service is: what it did in the last minutes. */
export function WatchIt() {
  const now = stats.value;
  return (
    <section aria-labelledby="watch-title" id="watch">
      <h2 id="watch-title">Watch it</h2>
      {silence.value && (
        <p class="note bad" role="alert">
          {silence.value.detail} What is below is what it last said.
        </p>
      )}
      {now === null ? <p class="soft">Asking the service …</p> : <Activity now={now} />}
    </section>
  );
}

function Activity({ now }: { now: Stats }) {
  const { intervals, interval_s: every } = now;
  const span = { nIntervals: Math.round(REMEMBERED_S / every), minutes: REMEMBERED_S / 60 };
  // The last interval runs: its first half second would say little of a rate.
  const running = Math.max(now.running_s, every / 10);
  const perSecond = (values: number[]) =>
    values.map((value, at) => value / (at === values.length - 1 ? running : every));
  const batchSize = intervals.batches.map((n, at) => (n > 0 ? intervals.batch_cells[at] / n : null));
  const phases = PHASES.map(
    (phase, at): Series => ({ name: phase, values: intervals.phases[phase].mean_ms, tone: TONES[at] }),
  );
  const { total } = intervals.phases;
  return (
    <>
      <p>
        The service is <b>{now.state}</b>, up for {duration(now.uptime_s)}; {counted(now.in_flight, "call")} under way,{" "}
        {counted(now.queue.cells, "cell")} waiting (at most {whole(now.queue.limit_cells)} of each priority).
        {nReplicas.value > 1 && (
          <span class="soft">
            {" "}
            {counted(nReplicas.value, "replica")} answer here in turn, each of itself; this is{" "}
            <code>{now.instance}</code>.
          </span>
        )}
      </p>
      <div class="charts">
        <Chart
          title="Cells encoded"
          unit="a second"
          kind="bars"
          {...span}
          series={[{ name: "cells", values: perSecond(intervals.cells), tone: "a" }]}
        />
        <Chart
          title="Queue"
          unit="cells waiting, at most"
          kind="bars"
          {...span}
          series={[{ name: "cells", values: intervals.queue_cells_max, tone: "b" }]}
        />
        <Chart
          title="Batch size"
          unit="cells, mean"
          kind="lines"
          {...span}
          series={[{ name: "cells", values: batchSize, tone: "c" }]}
        />
        <Chart
          title="Latency"
          unit="ms"
          kind="lines"
          {...span}
          series={[
            { name: "median", values: total.p50_ms, tone: "a" },
            { name: "95th percentile", values: total.p95_ms, tone: "b" },
          ]}
        />
        <Chart title="Latency by phase" unit="ms, mean" kind="lines" {...span} series={phases} />
        <Chart
          title="Refusals and failures"
          unit={`calls in ${every} s`}
          kind="bars"
          {...span}
          series={[
            { name: "refused: queue full", values: intervals.refused, tone: "b" },
            { name: "failed", values: intervals.failed, tone: "bad" },
            { name: "caller's fault", values: intervals.rejected, tone: "d" },
          ]}
        />
      </div>
    </>
  );
}
