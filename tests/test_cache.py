"Caches that processes build: killed at any moment, two at once, on a full disk."
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from conftest import run
from signs_nbdev.cache import cached_array
from signs_nbdev.core import DataError

SHAPE, COUNT = (16, 16, 3), 4000

BUILD = f"""
import sys, time
import numpy as np
from signs_nbdev.cache import cached_array

def row(i):
    time.sleep(float(sys.argv[1]))
    with open(sys.argv[2], "a") as log: log.write(f"{{i}}\\n")
    return np.full({SHAPE}, i % 251 + 1, np.uint8)

print("ready", flush=True)
if len(sys.argv) > 3: input()
array, faults = cached_array("/photos/toy", [f"A{{i}}" for i in range({COUNT})], {SHAPE}, row, "1", workers=4)
print(array[:, 0, 0, 0].tolist() == [i % 251 + 1 for i in range({COUNT})], len(faults))
"""


def start(log, seconds=0.0, *more, **kwargs):
    return subprocess.Popen([sys.executable, "-c", BUILD, str(seconds), str(log), *more], stdout=subprocess.PIPE, text=True, **kwargs)

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv("SIGNS_CACHE", str(tmp_path/"cache"))

def test_killed_at_any_moment_it_goes_on_and_ends_whole(tmp_path):
    draw = random.Random(0)
    for _ in range(6):
        process = start(tmp_path/"log", 0.001)
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(tmp_path/"log")
    assert process.communicate()[0] == "ready\nTrue 0\n"
    made = len((tmp_path/"log").read_text().splitlines())
    assert made < 6*COUNT  # what was counted was kept
    assert start(tmp_path/"log").communicate()[0] == "ready\nTrue 0\n"
    assert len((tmp_path/"log").read_text().splitlines()) == made

def test_two_processes_build_once(tmp_path):
    both = [start(tmp_path/"log", 0.001, "begin when told", stdin=subprocess.PIPE) for _ in range(2)]
    for o in both: assert o.stdout.readline() == "ready\n"
    for o in both: print(file=o.stdin, flush=True)
    printed = sorted(o.communicate()[0] for o in both)
    assert printed == ["Another process is decoding toy: waiting for it.\nTrue 0\n", "True 0\n"]
    assert len((tmp_path/"log").read_text().splitlines()) == COUNT

def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    result = run(sys.executable, "-c", BUILD, "0", tmp_path/"log", preexec_fn=limited)
    assert result.returncode == 1 and "File too large" in result.stdout and "Make room there" in result.stdout
    assert start(tmp_path/"log").communicate()[0] == "ready\nTrue 0\n"
    assert len((tmp_path/"log").read_text().splitlines()) < 2*COUNT

def test_faults_are_kept_and_replaced_sources_made_again():
    calls = []
    def row(i):
        calls.append(i)
        if i == 5 and bad: raise DataError("A5 is damaged")
        return np.full(SHAPE, i % 251 + 1, np.uint8)
    keys, bad = [f"A{i}" for i in range(COUNT)], True
    for _ in range(2):
        array, faults = cached_array("/photos/toy", keys, SHAPE, row, "1")
        assert faults == {5: "A5 is damaged"} and array[5].sum() == 0 and len(calls) == COUNT
    keys[5], bad = "A5 replaced", False
    array, faults = cached_array("/photos/toy", keys, SHAPE, row, "1")
    assert not faults and array[5, 0, 0, 0] == 6 and calls[COUNT:] == [5]
    cached_array("/photos/toy", keys, SHAPE, row, "2")
    assert len(calls) == 2*COUNT + 1  # another recipe, another array
