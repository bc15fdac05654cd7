"An augmented data set outlives the process that writes it."
import os
import subprocess
import sys
import time

from conftest import run

WRITE = """
import sys
import torch
from signs_nbdev.augment import expand
from signs_nbdev.data import SignData

some = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (200, 32, 32, 3), dtype=torch.uint8, generator=some)
groups = torch.arange(200) % 4
data = SignData(images, torch.arange(200) % 3, ("A", "B", "C"), groups=groups, group_names=("p", "q", "r", "s"))
expand(data, 4, sys.argv[1])
"""

def files(folder): return {o.relative_to(folder): o.read_bytes() for o in folder.rglob("*") if o.is_file()}

def test_a_killed_writer_is_followed_by_one_that_makes_the_same_files(tmp_path):
    command = [sys.executable, "-c", WRITE]
    writer = subprocess.Popen([*command, tmp_path/"killed"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.monotonic() + 300
    while writer.poll() is None and len([*tmp_path.rglob("*.png")]) < 100 and time.monotonic() < end: time.sleep(0.01)
    writer.kill()
    writer.communicate()
    left = files(tmp_path/"killed")
    assert 100 <= len(left) < 800, f"{len(left)} files when it was killed"
    done = [run(*command, tmp_path/name, env={**os.environ, "OMP_NUM_THREADS": threads})
            for name, threads in (("killed", "2"), ("at once", "1"))]
    assert not any(o.returncode for o in done), [o.stdout for o in done]
    whole = files(tmp_path/"at once")
    assert len(whole) == 802  # with both manifests
    assert {k: v for k, v in files(tmp_path/"killed").items() if k.name[0] != "."} == whole
