/** How well a model suits a file by itself: to offer the one of several that does. */

import type { Study } from "../reading/contract";
import { type ModelCard, NO_CHOICE } from "./contract";
import { mostKnown } from "./genes";
import { questions } from "./plan";
import { turnedToFit } from "./turned";

export interface Fit {
  /** Of the model's genes, the share that any names of the file's columns know. */
  share: number;
  /** Things that a person would have to choose. */
  nOpen: number;
}

export function fitOf(study: Study, card: ModelCard): Fit {
  const { genes: table } = turnedToFit(study, card);
  const [layer] = table.layers;
  const nKnown = layer === undefined ? 0 : mostKnown(table, layer, card);
  const nOpen = questions(study, card, NO_CHOICE).filter((question) => question.found === null).length;
  return { share: nKnown / Math.max(1, new Set(card.genes).size), nOpen };
}

/** The best of several models: the one with most of the file's genes, to a twentieth; of those the one that asks least. */
export function bestOf<T extends Fit>(fits: readonly T[]): T | undefined {
  const rank = ({ share, nOpen }: Fit) => [Math.round(share * 20), -nOpen, share];
  return fits.toSorted((a, b) => {
    const [one, other] = [rank(a), rank(b)];
    const at = one.findIndex((value, place) => value !== other[place]);
    return at < 0 ? 0 : other[at] - one[at];
  })[0];
}
