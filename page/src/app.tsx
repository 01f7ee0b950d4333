import { TokenForm } from "./frame/token";
import { Trouble } from "./frame/trouble";
import { Models } from "./models/models";
import { SeeIt } from "./results/see_it";
import { access, connect, forgetToken, token, trouble } from "./service/connection";
import { encoded } from "./trying/bench";
import { TryIt } from "./trying/try_it";
import { WatchIt } from "./watching/watch_it";
import { silence, stats } from "./watching/watching";

/** The page: what is served, a file to try, what became of it, and how the service is. */
export function App() {
  return (
    <>
      <a class="skip" href="#try">
        Skip to the file
      </a>
      <header class="top">
        <h1>totalvi-serve</h1>
        <Health />
        <nav aria-label="Sections">
          <a href="#models">Models</a>
          <a href="#try">Try it</a>
          {encoded.value && <a href="#see">See it</a>}
          <a href="#watch">Watch it</a>
          {token.value === null && <a href="docs">API</a>}
        </nav>
        {token.value !== null && access.value === "open" && (
          <button type="button" onClick={() => void forgetToken()}>
            Forget the token
          </button>
        )}
      </header>
      <main>
        <p class="lead">
          The cells of a CITE-seq sample in the latent space of a trained totalVI model: drop a file of counts and see
          where they lie.
        </p>
        {trouble.value && <Trouble problem={trouble.value} again={() => void connect()} />}
        {access.value === "asked" ? (
          <TokenForm />
        ) : (
          <>
            <TryIt />
            {encoded.value && <SeeIt key={encoded.value} encoded={encoded.value} />}
            <Models />
            <WatchIt />
          </>
        )}
      </main>
    </>
  );
}

function Health() {
  const state = trouble.value || silence.value ? "not answering" : stats.value?.state;
  if (!state || access.value === "asked") return null;
  return (
    <span class={state === "ready" ? "badge ready" : "badge failed"} role="status">
      {state}
    </span>
  );
}
