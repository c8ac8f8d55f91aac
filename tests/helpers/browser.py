"""Chromium without a window, through the DevTools protocol over a pipe."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from tests.helpers.waiting import SECONDS

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
CARRIED = ("file:", "data:", "blob:null/")  # addresses of the page itself and what is in it
KEY_CODES = {"Enter": 13, "Tab": 9, "Escape": 27, "Backspace": 8, "ArrowRight": 39, " ": 32}


def find():
    """The path of a browser, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one browser. `events`: what it reported since it was opened, {method, params}."""

    def __enter__(self):
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        browser_reads, self._out = os.pipe()
        self._in, browser_writes = os.pipe()

        def wire():  # the browser reads from 3 and writes to 4
            for pipe_end, descriptor in ((browser_reads, 3), (browser_writes, 4)):
                os.dup2(pipe_end, descriptor)
                # dup2 leaves it as it is where the two are the same.
                os.set_inheritable(descriptor, True)

        self._process = subprocess.Popen(
            [find(), *ARGUMENTS, f"--user-data-dir={self._home.name}"],
            preexec_fn=wire,
            close_fds=False,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(browser_reads)
        os.close(browser_writes)
        os.set_blocking(self._in, False)
        self._buffer, self._number, self._session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *unused):
        os.killpg(
            self._process.pid, signal.SIGKILL
        )  # of its own session, so it and its children alone
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._home.cleanup()

    def _receive(self):
        """The next message, None after a pause without one."""
        until = time.monotonic() + 0.5
        while b"\0" not in self._buffer:
            try:
                data = os.read(self._in, 1 << 20)
                assert data, "the browser has ended"
                self._buffer += data
            except BlockingIOError:
                if time.monotonic() > until:
                    return None
                time.sleep(0.005)
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _send(self, method, params):
        """Sends a command of the protocol without waiting for its result."""
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": params,
            **({"sessionId": self._session} if self._session else {}),
        }
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._out, rest) :]
        return self._number

    def _keep(self, event):
        """Keeps an event; a dialog, such as "Leave this page?", is accepted."""
        self.events.append(event)
        if event["method"] == "Page.javascriptDialogOpening":
            self._send("Page.handleJavaScriptDialog", {"accept": True})

    def call(self, method, **params):
        """The result of a command of the protocol; events that come meanwhile are kept."""
        number = self._send(method, params)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            answer = self._receive()
            if answer is not None and answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if answer is not None and "method" in answer:
                self._keep(answer)
        raise TimeoutError(method)

    def open(self, path, width=1280, height=900, scheme="light", media="screen"):
        """Loads a file, or an address, in a window of this size, and waits until it is quiet."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.events.clear()
        url = path if isinstance(path, str) else path.resolve().as_uri()
        self.call("Page.navigate", url=url)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            message = self._receive()
            if message is None and any(
                event["method"] == "Page.loadEventFired" for event in self.events
            ):
                return
            if message is not None and "method" in message:
                self._keep(message)
        raise TimeoutError(path)

    def press(self, *keys, control=False):
        """Presses keys one after the other, by the names of the DOM or as characters."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 and not control else "")
            key_code = KEY_CODES.get(
                key, ord(key.upper()) if len(key) == 1 and key.isalnum() else 0
            )
            params = {"key": key, "text": text, "windowsVirtualKeyCode": key_code}
            params["modifiers"] = 2 if control else 0
            self.call("Input.dispatchKeyEvent", type="keyDown", **params)
            self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def download(self, directory, action):
        """The content of the one file that the page gives when `action` is called."""
        directory.mkdir()
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory))
        action()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            complete = [path for path in directory.iterdir() if path.suffix == ".csv"]
            if complete and complete[0].stat().st_size:
                return complete[0].read_bytes()
            time.sleep(0.02)
        raise TimeoutError(directory)

    def dialogs(self):
        """The kinds of the dialogs so far, such as "beforeunload"."""
        openings = [e for e in self.events if e["method"] == "Page.javascriptDialogOpening"]
        return [event["params"]["type"] for event in openings]

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path, whole=False):
        """A PNG of the window, or of the whole page."""
        path.write_bytes(
            base64.b64decode(
                self.call(
                    "Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole)
                )["data"]
            )
        )

    def _clip(self, whole):
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {
            "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        }

    def complaints(self):
        """Errors and warnings of the page so far: exceptions, console, blocked requests."""
        text_of = {
            "Runtime.exceptionThrown": lambda params: params["exceptionDetails"]["text"],
            "Log.entryAdded": lambda params: params["entry"]["text"],
            "Runtime.consoleAPICalled": lambda params: str(params["args"]),
        }
        return [
            text_of[event["method"]](event["params"])
            for event in self.events
            if event["method"] in text_of
        ]

    def outside(self):
        """The addresses of all that the page asked for, but itself and what it carries."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(CARRIED)]
