"""A headless Chromium, asked by its DevTools protocol over a pipe."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# the browser reads commands from file 3 and writes answers to file 4
_PLACE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """A page of a browser, with what it reported: errors of scripts, violations of its policy, requests."""

    def __init__(self, read, write):
        self._read, self._write, self._number, self._rest = read, write, 0, b""
        self.events = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        about = {"targetId": target, "flatten": True}
        self._session = {"sessionId": self._ask("Target.attachToTarget", about)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.ask(f"{domain}.enable")

    def _next(self):
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _ask(self, method, parameters, **about):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **about}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def ask(self, method, **parameters):
        """The result of a method of the protocol."""
        return self._ask(method, parameters, **self._session)

    def open(self, file, width=1280, height=900, **media):
        """Load a file; media: features such as prefers_color_scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.ask("Page.navigate", url=file.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def faults(self):
        """Errors of scripts, and what the browser logged as an error."""
        faults = [e["params"] for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        logged = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        return faults + [entry for entry in logged if entry["level"] in ("error", "warning")]

    def requests(self):
        """The addresses that were asked for."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def screenshot(self, file):
        """Write a PNG of the whole page."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, file):
        """Print the page, as its style sheet has it."""
        answer = self.ask("Page.printToPDF", preferCSSPageSize=True)
        file.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browser(folder):
    """A page of a new browser, whose files lie in the folder; it ends with the block."""
    (its_read, write), (read, its_write) = os.pipe(), os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (its_read, its_write)]  # clear of 3 and 4
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
    ]
    flags += ["--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"]
    command = [sys.executable, "-c", _PLACE, *map(str, ends), PROGRAM, *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([*command, f"--user-data-dir={folder}/browser"], pass_fds=ends, **quiet)
    for end in (*ends, its_read, its_write):
        os.close(end)
    try:
        yield Page(read, write)
    finally:
        child.terminate()
        child.wait()
        os.close(read)
        os.close(write)
