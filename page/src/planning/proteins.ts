/** Which of the proteins are sent, and from where. */

import { InputError, type Study } from "../reading/contract";
import type { Choice, ModelCard, Option, PlannedColumns, Question } from "./contract";
import { type Place, placesOf } from "./protein_places";
import { mayBe, renamedProteins } from "./renamed";
import { counted, examples, shown } from "./shown";

/** What is sent of the proteins; null: none. */
export function planProteins(study: Study, layer: string, card: ModelCard, choice: Choice): PlannedColumns | null {
  if (card.proteins.length === 0 || choice.proteins === "none") {
    return null;
  }
  const places = placesOf(study, layer, card, choice.allowNonInteger);
  const place =
    choice.proteins === null ? foundPlace(places, study, card) : places.find(({ value }) => value === choice.proteins);
  if (place === undefined) {
    throw new InputError(
      `${study.genes.title} has no proteins at ${choice.proteins}; choose another place for the proteins.`,
    );
  }
  if (typeof place === "string") {
    throw new InputError(place);
  }
  if (place.problem !== "") {
    throw new InputError(place.problem);
  }
  const positions = new Map<string, number>();
  const twice: string[] = [];
  place.names.forEach((name, at) => {
    if (name !== null && positions.has(name)) {
      twice.push(name);
    } else if (name !== null) {
      positions.set(name, at);
    }
  });
  if (twice.length > 0) {
    throw new InputError(`proteins are more than once in ${place.title}: ${shown(twice)}; keep one of each.`);
  }
  const names = card.proteins.filter((name) => positions.has(name));
  const target = new Int32Array(place.matrix.nColumns).fill(-1);
  names.forEach((name, at) => {
    target[positions.get(name) as number] = at;
  });
  const isKnown = new Set(card.proteins);
  return {
    matrix: place.matrix,
    place: place.title,
    target,
    names,
    extra: [...positions.keys()].filter((name) => !isKnown.has(name)),
  };
}

/** Where the proteins are; null: the model has none. */
export function proteinQuestion(study: Study, layer: string, card: ModelCard, choice: Choice): Question | null {
  if (card.proteins.length === 0) {
    return null;
  }
  const places = placesOf(study, layer, card, choice.allowNonInteger);
  const found = foundPlace(places, study, card);
  const total = card.proteins.length;
  const options: Option[] = places.map(({ value, title, nKnown, problem }) => ({
    value,
    // The problem of a place without any tells more.
    label: nKnown === 0 ? title : `${title}: ${nKnown} of the model's ${counted(total, "protein")}`,
    problem,
  }));
  options.push({
    value: "none",
    label: "No proteins were measured: each counts 0, which shifts the cells",
    problem: "",
  });
  return {
    id: "proteins",
    label: "Protein counts",
    help: `The model knows ${counted(total, "protein")}, with names like ${examples(card.proteins)}.`,
    options,
    found: typeof found === "string" ? null : found.value,
    why: typeof found === "string" ? found : `${known(found, total)} in ${found.title}`,
  };
}

/** `1 of the model's 2 proteins is`. */
function known({ nKnown }: Place, total: number): string {
  return `${nKnown} of the model's ${counted(total, "protein")} ${nKnown === 1 ? "is" : "are"}`;
}

/** The place that is taken by itself, or why there is none. */
function foundPlace(places: Place[], study: Study, card: ModelCard): Place | string {
  const modality = places.find(({ value }) => value === "modality");
  if (modality !== undefined) {
    return modality.problem === "" ? modality : modality.problem;
  }
  const total = card.proteins.length;
  const usual = places.filter(({ isUsual }) => isUsual);
  const others = places.filter(({ isUsual, problem }) => !isUsual && problem === "");
  const good = usual.filter(({ problem }) => problem === "");
  const most = Math.max(...good.map(({ nKnown }) => nKnown));
  const best = good.filter(({ nKnown }) => nKnown === most);
  const more = others.filter(({ nKnown }) => nKnown > most);
  if (best.length > 0 && more.length > 0) {
    const [one, other] = [best[0], more[0]];
    return `${known(one, total)} in ${one.title}, but ${other.nKnown} in ${other.title}: choose where the raw counts are.`;
  }
  if (best.length === 1) {
    return best[0];
  }
  if (best.length > 1) {
    return `proteins are in ${best.map(({ title }) => title).join(" and in ")}, and it is not known which are meant: choose one.`;
  }
  const choosable = others.map(({ title }) => title).join(" or ");
  if (usual.length > 0) {
    return usual[0].problem + (choosable === "" ? "" : ` If the raw counts are in ${choosable}, choose it.`);
  }
  const nowhere =
    `the model needs the counts of ${counted(total, "protein")} (${examples(card.proteins)}), and ${study.genes.title} has none where they ` +
    "usually are: obsm protein_expression, a modality prot, or columns of the feature type Antibody Capture.";
  return [
    nowhere,
    choosable === "" ? "" : `If they are in ${choosable}, choose it.`,
    ...places.map(underOtherNames),
    'If none were measured, choose "No proteins were measured".',
  ]
    .filter((sentence) => sentence !== "")
    .join(" ");
}

/** Of a place with names of which the model knows none; empty: it is none. */
function underOtherNames({ title, names, nKnown, renamed }: Place): string {
  if (nKnown > 0 || names.length === 0) {
    return "";
  }
  return renamed.length > 0
    ? `They are probably in ${title} under other names: ${mayBe(renamed)}; rename them in the file if so.`
    : `If they are in ${title}, rename its columns as the model does: they are called ${examples(names.filter((name) => name !== null))}.`;
}

/** Why proteins of the model may be missing, for a person; empty: nothing is known. */
export function proteinHints(planned: PlannedColumns | null, card: ModelCard): string[] {
  const isThere = new Set(planned?.names);
  const missing = card.proteins.filter((name) => !isThere.has(name));
  const pairs = renamedProteins(missing, planned?.extra ?? []);
  if (planned === null || pairs.length === 0) {
    return [];
  }
  const [subject, names, end] =
    pairs.length === 1
      ? ["1 missing protein is", "another name", "rename it in the file if so, as it counts as 0 until then"]
      : [
          `${pairs.length} missing proteins are`,
          "other names",
          "rename them in the file if so, as each counts as 0 until then",
        ];
  return [`${subject} probably in ${planned.place} under ${names}: ${mayBe(pairs)}; ${end}.`];
}
