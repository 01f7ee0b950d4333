"""A tab of Chromium by its own protocol, and of that only what is needed.

Playwright watches the network, too: Chromium then keeps a copy of every request, and sends it at a third of the speed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.page.chromium import ARGUMENTS, CHROMIUM

READ_AT_ONCE = 1 << 20
PATIENCE_MS = 300_000
UNTIL = """new Promise((done, fail) => {{
  const end = performance.now() + {patience};
  const look = () =>
    ({condition}) ? done() : performance.now() > end ? fail(new Error("in vain")) : setTimeout(look, 50);
  look();
}})"""
DRAG = ("dragEnter", "dragOver", "drop")


class Chromium:
    """The browser without a window and one tab of it, as a context manager.

    Args:
        address: where the tab is.
        size: of the tab in pixels.

    Attributes:
        downloads: the folder of what is downloaded.
    """

    def __init__(self, address: str, size: tuple[int, int]) -> None:
        self._address = address
        self._size = size
        self._asked = 0
        self._session: str | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        """Start it and open the tab."""
        assert CHROMIUM, "chromium is not installed (Debian: make chromium)"
        self._folder = tempfile.TemporaryDirectory()
        self.downloads = Path(self._folder.name, "downloads")
        ours, its = os.pipe(), os.pipe()
        # Of a pipe each, it reads from 3 and writes to 4; the shell in between does not hand on others.
        command = f'exec "$0" "$@" 3<&{ours[0]} 4>&{its[1]}'
        flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={self._folder.name}/profile", *ARGUMENTS]
        self._process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *flags, "about:blank"],
            pass_fds=(ours[0], its[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(its[1])
        self._to, self._from = ours[1], its[0]
        width, height = self._size
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=self._address)
        return self

    def __exit__(self, *_: object) -> None:
        """End it by its id."""
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    @property
    def version(self) -> str:
        """As it calls itself."""
        return str(self.ask("Browser.getVersion", of_tab=False)["product"])

    def processes(self) -> dict[int, str]:
        """Kinds of its processes by their ids."""
        found = self.ask("SystemInfo.getProcessInfo", of_tab=False)["processInfo"]
        return {process["id"]: process["type"] for process in found}

    def ask(self, method: str, *, of_tab: bool = True, **params: Any) -> Any:
        """The answer to a command, to the tab where there is one."""
        self._asked += 1
        message: dict[str, Any] = {"id": self._asked, "method": method, "params": params}
        if of_tab and self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._asked:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not (read := os.read(self._from, READ_AT_ONCE)):
                raise RuntimeError("the browser has ended")
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def js(self, expression: str) -> Any:
        """What an expression gives in the page, once it is there."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Return once an expression holds in the page."""
        self.js(UNTIL.format(condition=condition, patience=PATIENCE_MS))

    def drop(self, files: Sequence[Path], x: float, y: float) -> None:
        """Drag files from the desktop and drop them."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in DRAG:
            self.ask("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """`mouseMoved`, `mousePressed`, `mouseReleased` or `mouseWheel`."""
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, places: Sequence[tuple[float, float]]) -> None:
        """Along places, the button held."""
        held = {"button": "left", "clickCount": 1}
        self.mouse("mousePressed", *places[0], **held)
        for place in places[1:]:
            self.mouse("mouseMoved", *place, button="left", buttons=1)
        self.mouse("mouseReleased", *places[-1], **held)
