"""What attacks can do: python -m benchmarks.attacks.

Pictures, tables and model folders are changed by chance, from a seed, and given to
mmevent in a process of its own, which an audit hook of Python watches: which files it
opens, whether it unpickles, runs a program or code of the attack, or opens a
connection. A process that dies is a crash; one that answers no more is a hang.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import numpy as np

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show
from benchmarks._hostile import ATTACKS, KINDS, SECRET, make_material

LIMIT_S = 5  # of the processor's time, which does not depend on what else runs
_SILENT_S = 60.0  # a trial that waits for something uses no time of the processor
_START_S = 600.0  # a process may take this long to import everything
_MEMORY = 8 * 2**30
_TRIALS = {"pictures": 400, "tables": 150, "folders": 350}
_OUTCOMES = ("refused", "used", "other error", "crash", "hang")
_FAULTS = ("file outside", "code", "network")
_CODE = (
    *("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn"),
    *("subprocess.Popen", "ctypes.dlopen"),
)
_NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request")


class Watch:
    """An audit hook: notes what a trial must not do, while it is armed."""

    def __init__(self, material: Path) -> None:
        self.armed, self.seen = False, set[str]()
        self.secret = material / SECRET
        self.known = [os.path.realpath(place) for place in self._known(material)]
        sys.addaudithook(self)

    @staticmethod
    def _known(material: Path) -> list[str]:
        root = Path(__file__).resolve().parents[1]
        modules = [sys.prefix, sys.base_prefix, str(root), *filter(None, sys.path)]
        system = ["/sys", "/proc/self/stat", "/proc/cpuinfo", "/usr/share/zoneinfo"]
        return [*modules, *system, "/dev/null", "/dev/urandom", str(material)]

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Take one event; Python calls this."""
        if not self.armed:
            return
        if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            self._opened(os.fsdecode(args[0]))
        elif event in _CODE:
            self.seen.add(f"code: {event}")
        elif event in _NETWORK:
            self.seen.add(f"network: {event}")
        elif event == "exec" and self.is_foreign(getattr(args[0], "co_filename", "")):
            self.seen.add("code: exec")

    def is_foreign(self, name: str) -> bool:
        """Whether code is of a file of the attack; modules of libraries are known."""
        return os.path.isabs(name) and not self._is_known(os.path.realpath(name))

    def _opened(self, name: str) -> None:
        self.armed = False  # what follows opens nothing, and must not be noted
        try:
            real = os.path.realpath(name)
            if real == str(self.secret) or not self._is_known(real):
                self.seen.add(f"file outside: {name}")
        finally:
            self.armed = True

    def _is_known(self, real: str) -> bool:
        return any(
            real == place or real.startswith(f"{place}/") for place in self.known
        )


def work(material: Path, seed: int) -> None:
    """Do the trials that are named on the standard input, one a line."""
    import resource

    from mmevent.exceptions import MmeventError

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    watch = Watch(material)
    _warm_up(material)
    print(json.dumps({"ready": True}), file=answer, flush=True)
    for line in sys.stdin:
        kind, number = json.loads(line)
        rng = np.random.default_rng([seed, KINDS.index(kind), number])
        error = ""
        watch.seen = set()
        begun = time.process_time()
        limit = math.ceil(begun) + LIMIT_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, most))
        with tempfile.TemporaryDirectory(dir=material) as folder:
            os.chdir(folder)
            watch.armed = True
            try:
                outcome = ATTACKS[kind](material, Path(folder), rng)
            except MmeventError:
                outcome = "refused"
            except Exception as caught:
                outcome, error = "other error", _where(caught)
            watch.armed = False
            if any(Path(folder).rglob("CODE_RAN")):
                watch.seen.add("code: of the attack")
            os.chdir(material)
        said = {"outcome": outcome, "error": error, "seen": sorted(watch.seen)}
        said |= {"seconds": time.process_time() - begun}
        print(json.dumps(said), file=answer, flush=True)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f"{Path(f.filename).name}:{f.lineno}"
        for f in frames
        if "mmevent/" in f.filename
    ]
    return f"{type(error).__name__} at {' '.join(ours[-2:])}: {str(error)[:100]}"


def _warm_up(material: Path) -> None:
    """Import what is imported at first use, and read what is read once."""
    import mmevent
    from benchmarks._hostile import _posts

    for model in sorted(material.glob("model-*")):
        detector = mmevent.load(model, image_root=material / "posts")
        posts = _posts(material)
        detector.audit(posts)
    labels = np.load(material / "labels.npy")
    mmevent.evaluate(detector, posts, labels)
    for form in ("csv", "parquet"):
        path = material / f"warm.{form}"
        write = posts.to_csv if form == "csv" else posts.to_parquet
        write(path, index=False)
        mmevent.posts.read_table(path)


class Worker:
    """A process that does trials, and is started anew when it dies or hangs."""

    def __init__(self, material: Path, seed: int) -> None:
        self._command = [sys.executable, "-m", "benchmarks.attacks", "--worker"]
        self._command += [str(material), "--seed", str(seed)]
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[str] = Queue()

    def _start(self) -> None:
        self._answers = Queue()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )
        Thread(target=self._read, args=(self._process, self._answers)).start()
        if not self._answers.get(timeout=_START_S):
            raise SystemExit(
                "benchmarks.attacks: a process died before the first trial"
            )

    @staticmethod
    def _read(process: subprocess.Popen[str], answers: Queue[str]) -> None:
        for line in process.stdout or ():
            answers.put(line)
        answers.put("")

    def do(self, kind: str, number: int) -> dict[str, Any]:
        """Do one trial; say how it ended, and how long it took."""
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps([kind, number]) + "\n")
        process.stdin.flush()
        try:
            line = self._answers.get(timeout=_SILENT_S)
        except Empty:
            line = ""
        if line:
            said: dict[str, Any] = json.loads(line)
            return said
        ended = self.end()
        hang = ended in (-signal.SIGXCPU, -signal.SIGKILL)
        outcome, error = ("hang", "") if hang else ("crash", f"exit status {ended}")
        return {"outcome": outcome, "error": error, "seen": [], "seconds": LIMIT_S}

    def end(self) -> int:
        """Stop the process, and return its exit status if it had ended already."""
        if self._process is None:
            return 0
        self._process.kill()
        status = self._process.wait()
        self._process = None
        return status


def run(
    n_trials: dict[str, int], seed: int, jobs: int
) -> dict[str, list[dict[str, Any]]]:
    """Do all trials, some at the same time; return them by kind, in order."""
    material = Path(tempfile.mkdtemp(prefix="mmevent-attacks-")).resolve()
    found: dict[str, list[dict[str, Any]]] = {
        kind: [{}] * n for kind, n in n_trials.items()
    }
    left = iter([(kind, i) for kind, n in n_trials.items() for i in range(n)])

    def work_off() -> None:
        worker = Worker(material, seed)
        for kind, number in left:
            found[kind][number] = worker.do(kind, number)
        worker.end()

    try:
        make_material(material)
        threads = [Thread(target=work_off) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shutil.rmtree(material, ignore_errors=True)
    return found


def tables(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Count how trials ended and what they did that they must not."""
    rows = []
    for kind, trials in found.items():
        outcomes = Counter(trial["outcome"] for trial in trials)
        faults = Counter(
            fault
            for trial in trials
            for fault in _FAULTS
            if any(seen.startswith(fault) for seen in trial["seen"])
        )
        seconds = [trial["seconds"] for trial in trials] or [0.0]
        rows.append(
            [kind, len(trials), *(outcomes[name] for name in _OUTCOMES)]
            + [*(faults[name] for name in _FAULTS), float(max(seconds))]
        )
    return [
        {
            "caption": "How the trials ended, and in how many something was done that "
            "must not be",
            "columns": [
                *("what was attacked", "trials", "refused", "used", "other errors"),
                *("crashes", f"hangs over {LIMIT_S} s", "files opened outside"),
                *("code run", "connections", "longest, seconds of a processor"),
            ],
            "rows": rows,
        }
    ]


def _said(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Name each trial that shows a fault, so that it can be repeated."""
    return [
        f"{kind} {i}: {trial['outcome']} {trial['error']} {' '.join(trial['seen'])}"
        for kind, trials in found.items()
        for i, trial in enumerate(trials)
        if trial["outcome"] not in ("refused", "used") or trial["seen"]
    ]


def main() -> None:
    """Run all trials, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind, n in _TRIALS.items():
        parser.add_argument(f"--{kind}", type=int, default=n, metavar="TRIALS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS, type=Path)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.worker, arguments.seed)
        return
    n_trials = {kind: getattr(arguments, kind) for kind in KINDS}
    found = run(n_trials, arguments.seed, arguments.jobs)
    print("\n".join(_said(found)), file=sys.stderr)
    result = {
        "title": "Attacks",
        "command": command_line("benchmarks.attacks"),
        "header": result_header(seed=arguments.seed),
        "tables": tables(found),
        "notes": [
            "Refused: an error of mmevent that says what is wrong, or a picture that "
            "gets a status. Used: the change did no harm that a check must find; the "
            "model may be a worse one. Other errors: an error of another library, or "
            "of Python, on the way.",
            "Files that compiled code opens, and what it does, are not seen by the "
            "audit hook; crashes and hangs are.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
