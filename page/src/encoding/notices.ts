/** What is to be known of all slices together, each once; the client's rules. */

import type { Warning } from "../service/stub/totalvi_v1_pb";

export interface Notice {
  code: string;
  detail: string;
  count: number;
  examples: string[];
}

/** The sentence begins with its count, which is summed; what is behind it tells genes from proteins. */
const SUMMED = "non_integer_counts";

export class Notices {
  private readonly found = new Map<string, Notice>();

  get all(): Notice[] {
    return [...this.found.values()];
  }

  take(warnings: readonly Pick<Warning, "code" | "detail" | "count" | "examples">[]): void {
    for (const { code, detail, count, examples } of warnings) {
      const notice = { code, detail, count: Number(count), examples: [...examples] };
      if (code === SUMMED) this.sum(notice);
      else if (!this.found.has(`${code} ${detail}`)) this.found.set(`${code} ${detail}`, notice);
    }
  }

  private sum(notice: Notice): void {
    const start = `${notice.count}`;
    const rest = notice.detail.startsWith(start) ? notice.detail.slice(start.length) : notice.detail;
    const count = notice.count + (this.found.get(rest)?.count ?? 0);
    this.found.set(rest, { ...notice, count, detail: `${count}${rest}` });
  }
}
