"Killed at any step and resumed, a training ends as if nothing had been; and what stops it says so in one line."
import json
import multiprocessing
import random
import resource
import time

import pytest

from signs_nbdev.checkpoint import checkpoints, load_checkpoint
from signs_nbdev.core import RunError
from signs_nbdev.evaluate import run
from signs_nbdev.loop import Training
from signs_nbdev.machine import one_thread
from signs_nbdev.models import load_model
from signs_nbdev.train import TrainConfig

SMALL = dict(dataset="folder", size=16, arch="signnet_tiny", epochs=5, batch_size=8, recipe="hands", ema=0.9, split="random",
             device="cpu", precision="fp32", checkpoint=0.001)

def train_in(three_classes, out, **more):
    with one_thread(): run(TrainConfig(**{**SMALL, **more}, data_root=three_classes, out=str(out)))

@pytest.fixture(scope="module")
def processes():
    "New processes that have the package imported already."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["signs_nbdev.evaluate"])
    return context

def bytes_of(out):
    return {o: (out/o).read_bytes() for o in ("model.safetensors", "history.jsonl", "metrics.json")}

def test_killed_at_twenty_points_it_ends_at_the_same_bits(three_classes, processes, tmp_path):
    def training(out, **more): # long enough not to end before it was killed often
        process = processes.Process(target=train_in, args=(three_classes, out), kwargs=dict(epochs=20, **more))
        process.start()
        return process
    process = training(tmp_path/"whole"); process.join()
    assert process.exitcode == 0
    rng, out, steps = random.Random(0), tmp_path/"killed", []
    for _ in range(20):
        process = training(out, resume=True)
        done = [o.name for o in checkpoints(out/"checkpoints")]
        while [o.name for o in checkpoints(out/"checkpoints")] == done and process.is_alive(): time.sleep(0.005)
        time.sleep(rng.random()*0.05)
        process.kill(); process.join()
        steps.append(int(checkpoints(out/"checkpoints")[-1].stem))
        assert len(checkpoints(out/"checkpoints")) <= 3  # two, and one more between writing and removing
    assert len(set(steps)) >= 15, steps
    process = training(out, resume=True); process.join()
    assert process.exitcode == 0
    assert bytes_of(out) == bytes_of(tmp_path/"whole")
    assert not (out/"checkpoints").exists()

def test_only_the_same_unfinished_run_is_resumed(three_classes, tmp_path):
    train_in(three_classes, tmp_path/"a", epochs=1)
    (tmp_path/"a/checkpoints").mkdir()  # left over by a kill between the metrics and the end
    with pytest.raises(RunError, match="holds a finished run"): train_in(three_classes, tmp_path/"a", epochs=1, resume=True)
    assert not (tmp_path/"a/checkpoints").exists()
    (tmp_path/"a/metrics.json").unlink()
    with pytest.raises(RunError, match="there: epochs 1"): train_in(three_classes, tmp_path/"a", epochs=2, resume=True)
    before = (tmp_path/"a/history.jsonl").read_bytes()
    train_in(three_classes, tmp_path/"a", epochs=1, resume=True)
    assert (tmp_path/"a/history.jsonl").read_bytes() == before

def test_loss_that_is_no_number_stops_with_the_last_good_weights(three_classes, tmp_path, monkeypatch):
    learn = Training.learn
    def poisoned(self, *args):
        if self.step == 12: next(self.plain.network.parameters()).data[0] = float("nan")
        return learn(self, *args)
    monkeypatch.setattr(Training, "learn", poisoned)
    with pytest.raises(RunError, match="the loss became no number in step 13, in epoch 2"): train_in(three_classes, tmp_path/"a")
    whole = [load_model(tmp_path/"a").network.state_dict(), load_checkpoint(tmp_path/"a/checkpoints")["model"]]
    assert all(o.isfinite().all() for weights in whole for o in weights.values())

def test_full_disk_is_one_line_and_costs_only_the_steps_since(three_classes, tmp_path, processes):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(RunError, match="could not be written.*Make room on the disk"): train_in(three_classes, tmp_path/"a")
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    train_in(three_classes, tmp_path/"a", resume=True)
    assert json.loads((tmp_path/"a/metrics.json").read_text())["test"]["n"] == 21

def test_full_memory_halves_what_is_computed_at_once_or_stops(three_classes, tmp_path, monkeypatch):
    learn, sizes = Training.learn, []
    def at_most_four(self, rows, *args):
        if (part := len(rows)//self.config.accumulate) > 4: raise RuntimeError("CUDA out of memory. Tried to allocate")
        sizes.append(part)
        return learn(self, rows, *args)
    monkeypatch.setattr(Training, "learn", at_most_four)
    with pytest.raises(RunError, match="the memory is full.*accumulate 2"): train_in(three_classes, tmp_path/"a", epochs=1)
    train_in(three_classes, tmp_path/"b", epochs=1, out_of_memory="halve")
    assert set(sizes) <= {1, 2, 3, 4}
