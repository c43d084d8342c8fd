"""A real Chromium without a window, steered over its debugging pipe. Tests that need it are skipped where it is not."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

OPTIONS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
OPTIONS += " --disable-component-update --disable-quic --hide-scrollbars --remote-debugging-pipe"


AXE_RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}"
AXE_FOUND = f"axe.run({AXE_RULES}).then(all => all.violations.map(one => one.id + ': ' + one.nodes[0].html))"


class Browser:
    """One tab. `errors` holds what the page threw or logged as an error, `requests` what it loaded but itself."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("chromium") is None:
            pytest.skip("needs chromium")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        command = f"exec chromium {OPTIONS} --user-data-dir='{folder / 'browser'}' 3<&{theirs_in} 4>&{theirs_out}"
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(theirs_in, theirs_out), **quiet)
        for theirs in (theirs_in, theirs_out):
            os.close(theirs)
        self.out, self.back = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.loaded: set[str] = set()  # the loaders of the documents that are whole
        self.session, self.number, self.rest, self.downloads = "", 0, b"", folder / "downloads"
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol; its result."""
        self.number += 1
        sent: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        own = {"sessionId": self.session} if self.session and not method.startswith(("Target.", "Browser.")) else {}
        self.out.write(json.dumps(sent | own).encode() + b"\0")
        self.out.flush()
        while (told := self._next()).get("id") != self.number:
            self._note(told)
        assert "error" not in told, (method, told["error"])
        result: dict[str, Any] = told["result"]
        return result

    def open(self, page: Path, width: int = 1440, media: str = "screen", dark: bool = False) -> None:
        """Loads a page and waits until its scripts have run."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.errors.clear()
        self.requests.clear()
        loader = self.call("Page.navigate", url=page.as_uri())["loaderId"]
        while loader not in self.loaded:
            self._note(self._next())

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def violations(self) -> list[str]:
        """The rules of WCAG 2.2 of level A or AA that the page breaks, by axe-core, each with the first element."""
        axe = pytest.importorskip("axe_core_python")
        self.run((Path(axe.__file__).parent / "axe.min.js").read_text() + "; 1")
        return list(self.run(AXE_FOUND))

    def until(self, script: str) -> None:
        """Waits until a JavaScript expression is true."""
        self.run(f"new Promise(done => (function look() {{ ({script}) ? done() : setTimeout(look, 10); }})())")

    def downloaded(self, name: str) -> Path:
        """The file that the page saved, once it is whole."""
        end = time.monotonic() + 60
        while not (self.downloads / name).exists():
            assert time.monotonic() < end, "nothing was saved"
            time.sleep(0.05)
        return self.downloads / name

    def close(self) -> None:
        self.call("Browser.close")
        self.process.wait(60)
        self.out.close()
        self.back.close()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            read = os.read(self.back.fileno(), 1 << 20)
            assert read, "the browser has ended"
            self.rest += read
        line, _, self.rest = self.rest.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        method, about = told.get("method", ""), told.get("params", {})
        if method == "Page.lifecycleEvent" and about["name"] == "load":
            self.loaded.add(about["loaderId"])
        if method == "Runtime.exceptionThrown" or (method == "Log.entryAdded" and about["entry"]["level"] == "error"):
            self.errors.append(json.dumps(about))
        elif method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(about["request"]["url"])
