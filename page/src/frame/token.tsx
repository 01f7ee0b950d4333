import { useState } from "preact/hooks";
import { refused, useToken } from "../service/connection";

/** Asks for the caller's token, where the service wants one. */
export function TokenForm() {
  const [given, setGiven] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    if (given.trim()) void useToken(given.trim());
  };
  return (
    <section class="panel" aria-labelledby="token-title">
      <h2 id="token-title">This service asks for a token</h2>
      <p>Whoever runs it has given you one. It stays in this tab, and is sent to this service alone.</p>
      <form class="row" onSubmit={submit}>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            value={given}
            onInput={(event) => setGiven(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main">
          Use this token
        </button>
      </form>
      {refused.value !== null && (
        <p class="note bad" role="alert">
          The token is not accepted: {refused.value}
        </p>
      )}
    </section>
  );
}
