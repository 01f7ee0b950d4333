/** The same request by other means: lines to copy, with this file's choices in them. */

import type { Choice } from "../planning/contract";

export interface Made {
  /** Where the service is, ending with `/`. */
  base: string;
  model: string;
  version: string;
  fileName: string;
  format: string;
  choice: Choice;
  /** Whether the service asked for a token. */
  withToken: boolean;
  /** Name of the file with the request, as the page offers it. */
  requestName: string;
}

export interface Snippet {
  language: "curl" | "Python" | "R";
  text: string;
  /** Whether it reads the request that the page offers as a file. */
  needsRequest: boolean;
}

export function snippets(made: Made): Snippet[] {
  return [curl(made), readByClient(made) ? byClient(made) : python(made), r(made)];
}

/** Formats that totalvi-client reads itself; others go as the request. */
function readByClient(made: Made): boolean {
  return ["h5ad", "h5mu", "10x h5"].includes(made.format);
}

function address(made: Made): string {
  const version = `versions/${encodeURIComponent(made.version)}`;
  return `${made.base}v1/models/${encodeURIComponent(made.model)}/${version}/encode`;
}

function curl(made: Made): Snippet {
  const lines = [`curl -s ${shellText(address(made))}`, "-H 'Content-Type: application/json'"];
  if (made.withToken) lines.push('-H "Authorization: Bearer $TOTALVI_CLIENT_TOKEN"');
  lines.push(`-d @${shellText(made.requestName)}`);
  return { language: "curl", text: lines.join(" \\\n  "), needsRequest: true };
}

function byClient(made: Made): Snippet {
  const stem = made.fileName.replace(/\.[^.]*$/, "");
  const positional = [
    pythonText(made.fileName),
    pythonText(`${stem}.totalvi.h5${made.format === "h5mu" ? "mu" : "ad"}`),
  ];
  positional.push(made.withToken ? "client" : pythonText(made.base.replace(/\/$/, "")));
  const lines = positional.concat(clientArguments(made)).map((one) => `    ${one},`);
  const call = [`print(encode_file(`, ...lines, "))"];
  const text = made.withToken
    ? [
        "import os",
        "from totalvi_client import Client, encode_file",
        "",
        `client = Client(${pythonText(made.base.replace(/\/$/, ""))}, token=os.environ["TOTALVI_CLIENT_TOKEN"])`,
        ...call,
      ]
    : ["from totalvi_client import encode_file", "", ...call];
  return { language: "Python", text: text.join("\n"), needsRequest: false };
}

/** The choices as arguments of `embed` and `encode_file`. */
function clientArguments({ model, version, choice }: Made): string[] {
  const given = [`model=${pythonText(model)}`, `version=${pythonText(version)}`];
  if (choice.layer) given.push(`layer=${pythonText(choice.layer)}`);
  if (choice.geneColumn) given.push(`gene_column=${pythonText(choice.geneColumn)}`);
  if (choice.proteins === "none") given.push("proteins=False");
  else if (choice.proteins && choice.proteins !== "modality" && choice.proteins !== "columns") {
    given.push(`proteins=${pythonText(choice.proteins)}`);
  }
  const keys: string[] = [];
  const values: string[] = [];
  for (const [id, label] of Object.entries(choice.labels)) {
    if (label === null) continue;
    const field = id.replace(/^covariate:/, "");
    if (id === "batch") {
      given.push("column" in label ? `batch_key=${pythonText(label.column)}` : `batch=${pythonValue(label.value)}`);
    } else if ("column" in label) keys.push(`${pythonText(field)}: ${pythonText(label.column)}`);
    else values.push(`${pythonText(field)}: ${pythonValue(label.value)}`);
  }
  if (keys.length > 0) given.push(`covariate_keys={${keys.join(", ")}}`);
  if (values.length > 0) given.push(`covariates={${values.join(", ")}}`);
  if (choice.allowNonInteger) given.push("allow_non_integer=True");
  given.push("distribution=True");
  return given;
}

function python(made: Made): Snippet {
  const headers = ['"Content-Type": "application/json"'];
  if (made.withToken) headers.push('"Authorization": "Bearer " + os.environ["TOTALVI_CLIENT_TOKEN"]');
  const text = [
    `import json, ${made.withToken ? "os, " : ""}urllib.request`,
    "",
    `body = open(${pythonText(made.requestName)}, "rb").read()`,
    "request = urllib.request.Request(",
    `    ${pythonText(address(made))},`,
    "    body,",
    `    {${headers.join(", ")}},`,
    ")",
    "answer = json.load(urllib.request.urlopen(request))",
    'print(answer["z"][0])',
  ];
  return { language: "Python", text: text.join("\n"), needsRequest: true };
}

function r(made: Made): Snippet {
  const text = [
    "library(httr2)",
    "",
    `answer <- request(${pythonText(address(made))}) |>`,
    `  req_body_file(${pythonText(made.requestName)}, type = "application/json") |>`,
    ...(made.withToken ? ['  req_auth_bearer_token(Sys.getenv("TOTALVI_CLIENT_TOKEN")) |>'] : []),
    "  req_perform() |>",
    "  resp_body_json(simplifyVector = TRUE)",
    "dim(answer$z)",
  ];
  return { language: "R", text: text.join("\n"), needsRequest: true };
}

/** Double-quoted, which Python and R read alike. */
function pythonText(text: string): string {
  return JSON.stringify(text);
}

function pythonValue(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(value);
}

function shellText(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
