/** Which names of a file may be the model's under another spelling: for a person to decide, never applied. */

/** A name of the file, and the model's that it may be. */
export type Pair = readonly [theirs: string, ours: string];

const BEFORE = /^(anti[-_. ](human|mouse|rat)[-_. ]|anti[-_. ]|(adt|prot|protein)[-_.: ])/;
const AFTER = /[-_. ]?(totalseq[-_ ]?[a-d]?|totala|prot|adt)$/;
/** As names are made unique: CD4.1 beside the gene CD4. */
const MADE_UNIQUE = /[-.]1$/;

/** Names of the file that are the model's but for what vendors and programs add to the name of a protein. */
export function renamedProteins(missing: readonly string[], extra: readonly string[]): Pair[] {
  return paired(missing, extra, stems);
}

/** From the closest to the loosest: PD-1 is no PD made unique where there is a PD-1, and CD4.1 no CD41. */
function stems(name: string): string[] {
  const bare = name.toLowerCase().replace(BEFORE, "").replace(AFTER, "");
  const first = bare.replace(MADE_UNIQUE, "");
  return [bare, first, bare.replace(/[-_. ]/g, ""), first.replace(/[-_. ]/g, "")];
}

/** Names that have a key in common, each once, by the first of the keys that fits. */
export function paired(
  missing: readonly string[],
  extra: readonly string[],
  keysOf: (name: string) => string[],
): Pair[] {
  const ours = new Map<string, string>();
  const keys = missing.map(keysOf);
  for (let rank = 0; rank < (keys[0]?.length ?? 0); rank++) {
    keys.forEach((some, at) => {
      if (!ours.has(some[rank])) {
        ours.set(some[rank], missing[at]);
      }
    });
  }
  const isTaken = new Set<string>();
  const pairs: Pair[] = [];
  for (const theirs of extra) {
    const key = keysOf(theirs).find((one) => one !== "" && ours.has(one) && !isTaken.has(ours.get(one) as string));
    if (key !== undefined) {
      const name = ours.get(key) as string;
      isTaken.add(name);
      pairs.push([theirs, name]);
    }
  }
  return pairs;
}

/** `"CD4" may be the model's "CD4_TotalSeqB", …`; a few of them. */
export function mayBe(pairs: readonly Pair[], most = 3): string {
  const few = pairs.slice(0, most).map(([theirs, ours]) => `"${theirs}" may be the model's "${ours}"`);
  return few.join(", ") + (pairs.length > most ? ", and so on" : "");
}
