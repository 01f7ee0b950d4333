import { TokenForm } from "./frame/token";
import { Trouble } from "./frame/trouble";
import { Models } from "./models/models";
import { SeeIt } from "./results/see_it";
import { access, connect, forgetToken, token, trouble } from "./service/connection";
import { forget, result } from "./trying/bench";
import { TryIt } from "./trying/try_it";
import { WatchIt } from "./watching/watch_it";
import { silence, stats } from "./watching/watching";

/** The page: what is served, a file to try, what became of it, and how the service is. */
export function App() {
  const isOpen = access.value !== "asked";
  return (
    <>
      {isOpen && (
        <a class="skip" href="#try">
          Skip to the file
        </a>
      )}
      <header class="top">
        <h1>totalvi-serve</h1>
        <Health />
        {isOpen && (
          <nav aria-label="Sections">
            <a href="#try">Try it</a>
            {result.value && <a href="#see">See it</a>}
            <a href="#models">Models</a>
            <a href="#watch">Watch it</a>
            {token.value === null && <a href="docs">API</a>}
          </nav>
        )}
        {token.value !== null && (
          <button type="button" onClick={leave}>
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
        {isOpen ? (
          <>
            <TryIt />
            {result.value && <SeeIt key={result.value} result={result.value} />}
            <Models />
            <WatchIt />
          </>
        ) : (
          <TokenForm />
        )}
      </main>
    </>
  );
}

/** The next person at this tab finds nothing of this one. */
function leave(): void {
  forget();
  void forgetToken();
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
