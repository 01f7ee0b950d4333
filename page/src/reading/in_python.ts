/** What a part of a file of an AnnData or a MuData is called in Python, for advice. */

const KEYED = ["layers", "obsm", "obs", "var"];

/** By its path in the file; `whole`: the file's name in Python; null: it is none that a person gives a new value. */
export function inPython(path: string, whole: "adata" | "mdata"): string | null {
  const parts = path.split("/");
  const [owner, rest] = parts[0] === "mod" ? [`mdata["${parts[1]}"]`, parts.slice(2)] : [whole, parts];
  const [place, key] = rest;
  if (place === "X") {
    return `${owner}.X`;
  }
  return KEYED.includes(place) && key !== undefined ? `${owner}.${place}["${key}"]` : null;
}
