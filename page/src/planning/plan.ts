/** How a study meets a model: what a person may choose, and what will be sent. */

import { InputError, type Study } from "../reading/contract";
import { askedNumbers, numberQuestion, planNumbers } from "./continuous";
import type { Choice, ModelCard, Plan, Question } from "./contract";
import { layerQuestion, placeOf, takenCounts } from "./counts";
import { geneHints, geneQuestion, planGenes } from "./genes";
import { askedFields, labelQuestion, planLabels } from "./labels";
import { planProteins, proteinHints, proteinQuestion } from "./proteins";
import { turnedToFit } from "./turned";

/** What a person may choose for this model, given what they chose already. */
export function questions(study: Study, card: ModelCard, choice: Choice): Question[] {
  const { genes: table, ...rest } = turnedToFit(study, card);
  const counts = layerQuestion(table, choice);
  const layer = choice.layer ?? counts.found ?? table.layers[0];
  if (layer === undefined || !table.layers.includes(layer)) {
    return [counts];
  }
  const { batch, covariates } = askedFields(card);
  return [
    counts,
    geneQuestion(table, layer, card, choice),
    proteinQuestion({ ...rest, genes: table }, layer, card, choice),
    batch === null ? null : labelQuestion(table, batch),
    ...covariates.map((asked) => labelQuestion(table, asked)),
    ...askedNumbers(card).map((name) => numberQuestion(table, name)),
  ].filter((question) => question !== null);
}

/** What will be sent. */
export function plan(study: Study, card: ModelCard, choice: Choice): Plan {
  const turned = turnedToFit(study, card);
  const { genes: table } = turned;
  if (table.nCells === 0) {
    throw new InputError(`${table.title} has no cells; was everything filtered out?`);
  }
  const counts = takenCounts(table, choice);
  const { batch, covariates } = askedFields(card);
  const genes = planGenes(table, counts.layer, card, choice);
  const proteins = planProteins(turned, counts.layer, card, choice);
  return {
    table,
    nCells: table.nCells,
    counts: `${placeOf(counts.layer)} of ${table.title} (${counts.why})`,
    genes,
    proteins,
    batch: batch === null ? null : planLabels(table, batch, choice),
    categorical: Object.fromEntries(covariates.map((asked) => [asked.key, planLabels(table, asked, choice)])),
    continuous: Object.fromEntries(askedNumbers(card).map((name) => [name, planNumbers(table, name, choice)])),
    allowNonInteger: choice.allowNonInteger,
    hints: [...geneHints(genes, card), ...proteinHints(proteins, card)],
  };
}
