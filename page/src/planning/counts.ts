/** Where the raw counts are: counts tell themselves by being whole numbers that are not negative. */

import { InputError, type Table } from "../reading/contract";
import type { Choice, NumberKind, Option, Question } from "./contract";
import { KIND_WORDS, kindOf } from "./number_kind";

const USUAL_LAYERS = ["counts", "raw_counts", "count", "raw_count", "counts_raw", "umi", "umis", "umi_counts", "raw"];

/** Counts that were found, or why none were. */
export type FoundCounts = { layer: string; why: string } | { layer: null; why: string };

/** The raw counts of a table, by themselves: X where it is counts, else `raw`; a layer beside an X that is not is asked for. */
export function findCounts(table: Table, allowNonInteger: boolean): FoundCounts {
  const { layers } = table;
  const kinds = new Map<string, NumberKind>();
  /** Of the first that cannot be read: why; it is no obstacle to the others. */
  let unreadable = "";
  const isFine = (layer: string) => {
    try {
      const kind = kindOf(table.matrix(layer));
      kinds.set(layer, kind);
      return kind === "counts" || (allowNonInteger && kind === "fractions");
    } catch (error) {
      if (error instanceof InputError) {
        unreadable ||= error.message;
        return false;
      }
      throw error;
    }
  };
  if (layers.includes("X") && isFine("X")) {
    return { layer: "X", why: `X is ${KIND_WORDS[kinds.get("X") as NumberKind]}` };
  }
  const usual = layers.filter((name) => name !== "raw" && USUAL_LAYERS.includes(name.toLowerCase()));
  const good = [...usual, ...layers.filter((name) => name === "raw")].filter(isFine);
  const first = kinds.get("X");
  if (unreadable !== "") {
    return {
      layer: null,
      why:
        good.length === 0 ? unreadable : `${unreadable} Or choose ${good.map(placeOf).join(" or ")}, which is counts.`,
    };
  }
  if (first === undefined && good.length === 1) {
    return { layer: good[0], why: `there is no X, and ${placeOf(good[0])} is counts` };
  }
  const looks = first === undefined ? `${table.title} has no X` : `X of ${table.title} looks ${KIND_WORDS[first]}`;
  const named = good.filter((name) => name !== "raw");
  if (named.length > 0) {
    const places = named.map(placeOf).join(" and ");
    const verb = named.length > 1 ? "are" : "is";
    return {
      layer: null,
      why: `${looks}, not like raw counts, which the model needs; ${places} ${verb} counts: choose it.`,
    };
  }
  if (good.length > 0) {
    return { layer: "raw", why: `${looks}, and raw is counts` };
  }
  if (first === "fractions") {
    return {
      layer: null,
      why:
        `${looks}; if a program that removes ambient counts wrote them, tick "Take counts with fractions"; if they were normalised, the raw ` +
        "counts are needed.",
    };
  }
  return {
    layer: null,
    why:
      `${looks}, and the model needs raw counts (whole numbers from 0), which are nowhere in it: looked at ` +
      `${[...kinds.keys()].map(placeOf).join(", ") || "nothing"}. Keep them when you normalise: ` +
      'adata.layers["counts"] = adata.X.copy(), before sc.pp.normalize_total.',
  };
}

/** The layer that was chosen or found, and why. */
export function takenCounts(table: Table, choice: Choice): { layer: string; why: string } {
  if (choice.layer === null) {
    const found = findCounts(table, choice.allowNonInteger);
    if (found.layer === null) {
      throw new InputError(found.why);
    }
    return found;
  }
  if (!table.layers.includes(choice.layer)) {
    throw new InputError(
      `${table.title} has no layer ${choice.layer}; choose among: ${table.layers.map(placeOf).join(", ")}.`,
    );
  }
  const problem = layerProblem(table, choice.layer, choice.allowNonInteger);
  if (problem !== "") {
    throw new InputError(`${placeOf(choice.layer)} of ${table.title} ${problem}.`);
  }
  return { layer: choice.layer, why: "as you chose" };
}

function layerProblem(table: Table, layer: string, allowNonInteger: boolean): string {
  const kind = kindOf(table.matrix(layer));
  if (kind === "counts" || (allowNonInteger && ["fractions", "normalised", "log-normalised"].includes(kind))) {
    return "";
  }
  const advice =
    kind === "fractions" ? 'tick "Take counts with fractions" to take them as they are' : "choose another layer";
  return `looks ${KIND_WORDS[kind]}, and the model needs raw counts (whole numbers from 0); ${advice}`;
}

/** Where the raw counts are. */
export function layerQuestion(table: Table, choice: Choice): Question {
  const found = findCounts(table, choice.allowNonInteger);
  return {
    id: "layer",
    label: "Raw counts",
    help: "The model takes the counts as they were measured: whole numbers, neither normalised nor transformed.",
    options: table.layers.map((layer) => layerOption(table, layer, choice.allowNonInteger)),
    found: found.layer,
    why: found.why,
  };
}

function layerOption(table: Table, layer: string, allowNonInteger: boolean): Option {
  try {
    const label = `${placeOf(layer)} (${KIND_WORDS[kindOf(table.matrix(layer))]})`;
    return { value: layer, label, problem: layerProblem(table, layer, allowNonInteger) };
  } catch (error) {
    // One that cannot be read, or is too large, is no obstacle to the others.
    if (error instanceof InputError) {
      return { value: layer, label: placeOf(layer), problem: error.message };
    }
    throw error;
  }
}

export function placeOf(layer: string): string {
  return layer === "X" || layer === "raw" ? layer : `layer ${layer}`;
}
