import { render } from "preact";

render(<p>totalvi-serve</p>, document.getElementById("page")!);
