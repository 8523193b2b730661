"""Chromium without a window, by the WebDriver protocol of its chromedriver: as much of it as the tests need."""
import base64
import json
import pathlib
import subprocess
import urllib.error
import urllib.request

from veredus import free_port, wait_until

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900"]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"


class Browser:
    """A context manager; `profile` is a new directory."""

    def __init__(self, profile):
        self.port = free_port()
        self.log = pathlib.Path(profile) / "chromedriver.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["/usr/bin/chromedriver", f"--port={self.port}"], stdout=log, stderr=log)
        self.base = f"http://127.0.0.1:{self.port}"
        wait_until(self.is_ready, 30, "chromedriver is ready")
        options = {"binary": "/usr/bin/chromium", "args": [*FLAGS, f"--user-data-dir={profile}/chromium"]}
        answer = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self.base += f"/session/{answer['sessionId']}"

    def is_ready(self):
        try:
            return self.ask("GET", "/status")["ready"]
        except OSError:
            return False

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path} {body}: {error.read().decode()[:2000]}") from error

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a piece of JavaScript; None if the page is just going."""
        try:
            return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})
        except AssertionError:
            return None

    def find(self, selector):
        """Waits for the element."""
        def look():
            found = self.ask("POST", "/elements", {"using": "css selector", "value": selector})
            return [one[ELEMENT] for one in found]
        return wait_until(look, 20, lambda: f"{selector} in {self.text()}")[0]

    def click(self, selector):
        self.ask("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        self.ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def text(self):
        """What can be read on the page."""
        return self.run("return document.body.innerText") or ""

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def stop(self):
        try:
            self.ask("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
