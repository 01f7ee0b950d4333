import "./style.css";
import { render } from "preact";
import { App } from "./app";
import { watch } from "./watching/watching";

render(<App />, document.getElementById("page")!);
watch();
