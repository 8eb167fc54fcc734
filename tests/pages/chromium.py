"""A headless Chromium on two pipes: the DevTools protocol without a port or another package."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing leaves the machine, even if a page asks
    "--remote-debugging-pipe",  # commands on descriptor 3, replies and events on 4
)
PATIENCE_S = 60.0


@dataclass
class Visit:
    """What a page did while it loaded; ``ask`` evaluates JavaScript in it."""

    ask: Callable[[str], Any]
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  # console errors, log errors, exceptions


class Browser:
    """One Chromium with one tab. Messages are JSON, each ended by a zero byte."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands, self._replies = commands, replies
        self._bytes = b""
        self._sent = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def visit(self, url: str, width: int = 1200, scheme: str = "light") -> Visit:
        """Load a page, wait until it and everything that it names has loaded or failed.

        ``scheme``: the colours that the reader prefers, ``light`` or ``dark``.
        """
        prefers = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=prefers)
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self._events.clear()
        self._call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._receive())
        visit = Visit(self._evaluate)
        # two frames, so that whatever layout and painting ask for has been asked for
        self._evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))")
        for event in self._events:
            method, detail = event["method"], event["params"]
            if method == "Network.requestWillBeSent":
                visit.requests.append(detail["request"]["url"])
            elif method == "Log.entryAdded" and detail["entry"]["level"] == "error":
                visit.complaints.append(detail["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and detail["type"] in ("error", "assert"):
                visit.complaints.append(str(detail["args"]))
            elif method == "Runtime.exceptionThrown":
                visit.complaints.append(str(detail["exceptionDetails"]))
        return visit

    def _evaluate(self, expression: str) -> Any:
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self._sent:
                assert "error" not in reply, reply
                return reply["result"]
            self._events.append(reply)

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._bytes:
            ready, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(self._replies, 1 << 16) if ready else b""
            if not read:
                raise RuntimeError("Chromium ended" if ready else f"no answer within {PATIENCE_S:g} s")
            self._bytes += read
        message, self._bytes = self._bytes.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start ``program`` with an empty ``profile``; it ends with the block."""
    its_input, commands = os.pipe()
    replies, its_output = os.pipe()
    # a shell puts the pipes where Chromium looks for them
    script = f'exec "$0" "$@" 3<&{its_input} 4>&{its_output}'
    with (profile / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", script, program, *ARGUMENTS, f"--user-data-dir={profile}"],
            pass_fds=(its_input, its_output),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.close(its_input)
    os.close(its_output)
    try:
        yield Browser(commands, replies)
    finally:
        os.close(commands)  # the browser ends when its pipe does
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(replies)
