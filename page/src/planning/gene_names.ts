/** How names of genes differ from the model's: kinds of ids, and spellings. */

import { mayBe, paired } from "./renamed";

const ENSEMBL = /^ENS[A-Z]*G\d{11}(\.\d+)?$/;
/** Below this share of the model's genes few are known by another spelling. */
const LEAST_GAIN = 0.05;

const SPELLINGS: { what: string; key: (name: string) => string; advice: string }[] = [
  {
    what: "a version suffix (.1)",
    key: (name) => name.replace(/\.\d+$/, ""),
    advice: "rename them in the file if they are the same.",
  },
  { what: "letter case", key: (name) => name.toLowerCase(), advice: "is it another species?" },
  {
    what: "the signs - _ .",
    key: (name) => name.replace(/[-_.]/g, "."),
    advice: "rename them in the file if they are the same.",
  },
];

/** Names that are of one alone. */
export function apart(ours: readonly string[], theirs: readonly string[]): { missing: string[]; extra: string[] } {
  const areOurs = new Set(ours);
  const areTheirs = new Set(theirs);
  return { missing: ours.filter((name) => !areTheirs.has(name)), extra: theirs.filter((name) => !areOurs.has(name)) };
}

/** Why genes of the model are not among the names of the file, as far as the names tell; empty: they do not. */
export function difference(missing: readonly string[], extra: readonly string[], nModel: number): string {
  const areTheirs = areMostlyEnsembl(extra);
  if (2 * missing.length > nModel && areTheirs !== areMostlyEnsembl(missing)) {
    const [has, wants] = areTheirs ? ["Ensembl ids", "symbols"] : ["symbols", "Ensembl ids"];
    return (
      `The file has ${has} and the model ${wants}: name your genes by ${wants}, or add a column of var with them, and drop the file ` +
      "again."
    );
  }
  const found = SPELLINGS.map((spelling) => ({
    ...spelling,
    pairs: paired(missing, extra, (name) => [spelling.key(name)]),
  }));
  const { what, pairs, advice } = found.reduce((best, one) => (one.pairs.length > best.pairs.length ? one : best));
  return pairs.length < Math.max(1, LEAST_GAIN * nModel)
    ? ""
    : `${pairs.length.toLocaleString("en")} of the missing genes would be known without regard to ${what}; ${advice} For instance ${mayBe(pairs, 2)}.`;
}

function areMostlyEnsembl(names: readonly string[]): boolean {
  return 2 * names.filter((name) => ENSEMBL.test(name)).length > names.length;
}
