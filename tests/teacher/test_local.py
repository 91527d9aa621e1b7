"""Starting an endpoint's process: what is said if it does not start, and that it is gone after."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from threading import Event

import pytest

from distill_sql.errors import TeacherError
from distill_sql.teacher import local
from distill_sql.teacher.local import started
from distill_sql.teacher.open_model import ENVIRONMENT

SERVER = """
import argparse, http.server, json, os, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--parent", type=int)
parser.add_argument("--mute", action="store_true")
parser.add_argument("--status", type=int)
options = parser.parse_args()
if options.mute:
    time.sleep(60)
if options.status is not None:
    print("warning: x\\nerror: The weights are damaged.", file=sys.stderr)
    sys.exit(options.status)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(os.environ.get("OMP_WAIT_POLICY")).encode())
http.server.HTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_server.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_server_runs_as_long_as_its_context() -> None:
    told = Event()
    with started("a_server", [], what="m", environment=ENVIRONMENT) as served:
        served.on_end(lambda _: told.set())
        with urllib.request.urlopen(f"{served.url}/models", timeout=10) as answer:
            assert json.load(answer) == "passive"  # its threads leave cores to other processes
        assert served.ended == ""
    assert served.process.poll() is not None
    assert not served.log.exists()
    assert not told.wait(0.2), "it was ended, and did not end by itself"


def test_a_server_that_ends_by_itself_is_told_once() -> None:
    told: list[str] = []
    with started("a_server", [], what="m") as served:
        served.on_end(told.append)
        served.process.terminate()
        served.process.wait()
        assert served.ended.startswith("the endpoint of m ended while it was asked (killed by SIGT")
        for _ in range(100):
            if told:
                break
            Event().wait(0.05)
    assert [one.partition(" (")[0] for one in told] == [
        "the endpoint of m ended while it was asked"
    ]


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(TeacherError, match=r"^The weights are damaged\.$"),
        started("a_server", ["--status=2"], what="m"),
    ):
        pass
    with (
        pytest.raises(TeacherError, match=r"of m did not start: it ended \(exit status 7\)"),
        started("a_server", ["--status=7"], what="m"),
    ):
        pass
    with (
        pytest.raises(TeacherError, match=r"No module named .*by hand: .* -m no_such_server"),
        started("no_such_server", [], what="m"),
    ):
        pass
    monkeypatch.setattr(local, "PATIENCE", 1.0)
    with (
        pytest.raises(TeacherError, match="did not start: no answer in 1 s"),
        started("a_server", ["--mute"], what="m"),
    ):
        pass
