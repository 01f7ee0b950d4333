import "./style.css";
import { render } from "preact";
import { App } from "./app";
import { connect } from "./service/connection";
import { watch } from "./watching/watching";

render(<App />, document.getElementById("page")!);
void connect();
watch();
