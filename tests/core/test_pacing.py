"""Fair shares of the model: whoever used it least goes first."""

from __future__ import annotations

import threading
import time

from ketools.core.pacing import BACKGROUND, Pacer, acting_for


def use(pacer: Pacer, name: str, steps: int, log: list[str], begun: threading.Event) -> threading.Thread:
    """A thread that makes steps of some milliseconds for a caller."""

    def work() -> None:
        with acting_for(name):
            for _ in range(steps):
                pacer.step()
                log.append(name)
                begun.set()
                time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_newcomer_passes_those_who_have_been_at_work_for_long() -> None:
    pacer, log, begun = Pacer(ahead=1), list[str](), threading.Event()
    hogs = [use(pacer, f"hog{i}", 60, log, begun) for i in range(4)]
    begun.wait()
    while len(log) < 40:
        begun.wait(0.001)
    before = len(log)
    use(pacer, "quiet", 10, log, begun).join()
    between = log[before : max(i for i, name in enumerate(log) if name == "quiet")]
    assert between.count("quiet") >= len(between) / 2
    for hog in hogs:
        hog.join()
    assert all(log.count(f"hog{i}") == 60 for i in range(4)), "nobody stands still for ever"


def test_jobs_give_way_to_every_caller_and_end_all_the_same() -> None:
    pacer, log, begun = Pacer(ahead=1), list[str](), threading.Event()
    job = use(pacer, BACKGROUND, 20, log, begun)
    begun.wait()
    use(pacer, "caller", 20, log, begun).join()
    job.join()
    assert log.count(BACKGROUND) == 20
    between = log[log.index("caller") : len(log) - log[::-1].index("caller")]
    assert between.count(BACKGROUND) < between.count("caller") / 2
