import { useState } from "preact/hooks";
import { counted, whole } from "../frame/words";
import { limits, models, serverVersion, token } from "../service/connection";
import type { Card, CategoricalField } from "../service/types";

const TRANSFORMS: Record<string, string> = {
  scaled: "log(1 + x / (1 + mean(x)))",
  log1p: "log(1 + x)",
};

const STATES: Record<Card["state"], string> = { ready: "ready", loading: "loading", failed: "failed" };

/** What is served: one card a model, and the limits of a request. */
export function Models() {
  const cards = models.value;
  return (
    <section aria-labelledby="models-title" id="models">
      <h2 id="models-title">Models</h2>
      {cards === null && <p class="soft">Asking the service …</p>}
      {cards?.length === 0 && <p class="note">No model is served at the moment.</p>}
      <div class="cards">
        {cards?.map((card) => (
          <ModelCard key={card.name} card={card} />
        ))}
      </div>
      <Limits />
    </section>
  );
}

function ModelCard({ card }: { card: Card }) {
  const isReady = card.state === "ready";
  return (
    <article class="panel card" aria-labelledby={`model-${card.name}`}>
      <header class="row spread">
        <h3 id={`model-${card.name}`}>{card.name}</h3>
        <span class={`badge ${card.state}`}>{STATES[card.state]}</span>
      </header>
      {card.reason && <p class="note bad">{card.reason}</p>}
      <dl>
        <dt>Version</dt>
        <dd>
          {card.version}
          {card.versions.length > 1 && <span class="soft"> (served: {card.versions.join(", ")})</span>}
        </dd>
        {isReady && <Trained card={card} />}
        <dt>sha256</dt>
        <dd>
          <code class="hash">{card.sha256}</code>
        </dd>
      </dl>
      {isReady && <GeneLookup card={card} />}
    </article>
  );
}

function Trained({ card }: { card: Card }) {
  const inputs = card.encode_covariates ? "" : " (the encoder does not use it)";
  return (
    <>
      <dt>Genes</dt>
      <dd>{whole(card.genes.length)}</dd>
      <dt>Proteins</dt>
      <dd>
        {card.proteins.length === 0 ? (
          "none"
        ) : (
          <details>
            <summary>{whole(card.proteins.length)}</summary>
            <p class="names">{card.proteins.join(", ")}</p>
          </details>
        )}
      </dd>
      <dt>Batches</dt>
      <dd>{card.batch === null ? "none" : `${labelled(card.batch)}${inputs}`}</dd>
      <dt>Covariates</dt>
      <dd>
        {card.categorical_covariates.length + card.continuous_covariates.length === 0
          ? "none"
          : [...card.categorical_covariates.map(labelled), ...card.continuous_covariates].join("; ") + inputs}
      </dd>
      <dt>Latent space</dt>
      <dd>
        {counted(card.n_latent, "dimension")}, {card.latent_distribution === "ln" ? "logistic normal" : "normal"}
      </dd>
      <dt>Input transform</dt>
      <dd>
        {card.input_transform}: <code>{TRANSFORMS[card.input_transform] ?? "none"}</code>
        <p class="small soft">How it was decided: {card.input_transform_decision}</p>
      </dd>
      <dt>Trained with</dt>
      <dd>
        {card.model_class} of scvi-tools {card.scvi_version || "of an unknown version"}
      </dd>
    </>
  );
}

function labelled(field: CategoricalField): string {
  const shown = field.categories.slice(0, 12).map(String).join(", ");
  const more = field.categories.length > 12 ? `, … (${whole(field.categories.length)})` : "";
  return `${field.key}: ${shown}${more}`;
}

/** Whether a gene is one of the model's. */
function GeneLookup({ card }: { card: Card }) {
  const [asked, setAsked] = useState("");
  const name = asked.trim();
  return (
    <label class="field">
      <span>Is my gene or protein in {card.name}?</span>
      <input
        type="search"
        placeholder={card.genes[0]}
        value={asked}
        onInput={(event) => setAsked(event.currentTarget.value)}
      />
      <output class="small">{name && told(card, name)}</output>
    </label>
  );
}

function told(card: Card, name: string): string {
  if (card.genes.includes(name)) return `${name} is one of the model's genes.`;
  if (card.proteins.includes(name)) return `${name} is one of the model's proteins.`;
  const like = [...card.genes, ...card.proteins].filter((known) => known.toLowerCase().includes(name.toLowerCase()));
  if (like.length === 0) return `The model has no ${name}.`;
  return `The model has no ${name}, but ${like.slice(0, 5).join(", ")}${like.length > 5 ? ", …" : ""}.`;
}

function Limits() {
  const published = limits.value;
  if (published === null) return null;
  const mebibytes = whole(published.max_request_bytes / 2 ** 20);
  return (
    <p class="small soft">
      One request may have {counted(published.max_request_cells, "cell")}, {mebibytes} MiB and{" "}
      {counted(published.max_samples, "sample")} a cell; this page sends a file of any size in slices. This is
      totalvi-serve {serverVersion.value}
      {token.value === null ? (
        <>
          , whose <a href="docs">REST documentation</a> and <a href="openapi.json">OpenAPI file</a> are here.
        </>
      ) : (
        // A browser sends no token where it only follows a link.
        ", whose documentation is at docs and openapi.json, for those who send the token."
      )}
    </p>
  );
}
