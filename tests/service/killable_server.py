"""Loads the model once, then forks a real MCP server per line `HOME PORT KILL_AT` on standard input.

The server kills itself with SIGKILL at the KILL_AT-th function call inside ketools or the database library
after an edit has set out on the pipeline; 0 means never, and then the number of calls is written to HOME/calls.
Each kill adds a line to HOME/killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import ketools
from ketools.atlas import weights_path
from ketools.editing.pipeline import EditPipeline
from ketools.models.loading import load_editable
from ketools.servers.http import serve_http
from ketools.servers.tokens import TokenFile
from ketools.service.opening import open_service
from ketools.service.settings import Settings

WATCHED = (f"{Path(ketools.__file__).parent}{os.sep}", f"{os.sep}sqlalchemy{os.sep}")
UNWATCHED = f"{os.sep}models{os.sep}"


class Killer:
    """A profile function that counts calls on the pipeline and pulls the plug at one of them."""

    def __init__(self, kill_at: int, report: Path) -> None:
        self.kill_at, self.report = kill_at, report
        self.armed, self.count = False, 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if code is EditPipeline.run.__code__:
            self.armed = self.armed or event == "call"
            if event == "return" and not self.kill_at:
                self.report.write_text(str(self.count))
        if not self.armed or not event.endswith("call"):
            return
        name = code.co_filename
        if name.startswith(WATCHED[0]) or WATCHED[1] in name:
            self.count += UNWATCHED not in name
            if self.count == self.kill_at:
                with (self.report.parent / "killed").open("a") as told:
                    told.write(f"{self.count}\n")
                os.kill(os.getpid(), signal.SIGKILL)


def child(model: Any, home: Path, port: int, kill_at: int) -> None:
    threading.setprofile(Killer(kill_at, home / "calls"))
    (home / "edit_policy.json").write_text('{"rules": []}')  # agents may edit everywhere
    service = open_service(Settings(home=home, consolidate=False), model)
    serve_http(service, host="127.0.0.1", port=port, tokens=TokenFile(home / "tokens.json"))


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    model = load_editable(weights_path())
    print("ready", flush=True)
    for line in sys.stdin:
        home, port, kill_at = line.split()
        pid = os.fork()
        if pid == 0:
            child(model, Path(home), int(port), int(kill_at))
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
