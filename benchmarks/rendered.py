"""What rendered hands are worth on photographs: a model that has seen nothing else, and one that began with them.

    .venv/bin/python benchmarks/rendered.py           # all runs, one after the other
    .venv/bin/python benchmarks/rendered.py rendered  # those whose names begin so

Needs SIGNS_DATA. Runs go to runs/results/, and finished ones are kept, so it can be stopped and started again. What a
reader needs of them (no weights, no pictures) is copied to nbs/results/, where nbs/01e_sessions.ipynb makes its tables.

rendered-S  trained on rendered hands alone, of many people and rooms. Poses, ranges and the length of training were
            chosen on frames 1 to 1000 of the ASL Alphabet only.
fresh-S     trained on frames 1 to 2000, tested on 2001 to 2500.
tuned-S     the same, begun with the weights of rendered-0.
All are judged on other people's photos too, and rendered-S on the whole recording.
The last line is JSON: {name: {what it was judged on: {"accuracy": ..., "correct": ..., "n": ...}}}."""
import json
import sys
from pathlib import Path

from results import RUNS, keep, train
from signs_nbdev.core import ASL_CLASSES
from signs_nbdev.data import SignData
from signs_nbdev.evaluate import evaluate_external, read_run
from signs_nbdev.machine import data_root
from signs_nbdev.sources import load

LETTERS = 26  # the first classes of the manual alphabet; the rest are del, nothing, space

def rendered(folder: Path, seed: int):
    "Train on rendered hands"
    train(folder, dict(dataset="hands_wide", seed=seed))

def fresh(folder: Path, seed: int, **more):
    "Train on the recording"
    train(folder, dict(dataset="asl_alphabet", split="block", seed=seed, **more))

def tuned(folder: Path, seed: int):
    "Train on the recording, begun with the weights of rendered-0"
    fresh(folder, seed, start_from=RUNS/"rendered-0")

def photographs(of: str, size: int) -> dict[str, SignData]:
    "What a run is judged on besides its own test part"
    asl = load("asl_alphabet", size=size)
    asl = asl[asl.part == 0]  # the official test photos are frames of the training part
    film = {"frames 1-1000, chosen on": asl[asl.frames <= 1000], "frames 1001-2500": asl[asl.frames > 1000],
            "frames 2001-2500": asl[asl.frames > 2000], "all frames": asl}
    photos = {f"{o}, letters": load("folder", data_root()/"asl_external"/o, size, classes=ASL_CLASSES)
              for o in ("desk", "studio")}
    return {**(film if of == "rendered" else {}), **{k: o[o.labels < LETTERS] for k, o in photos.items()}}

done = {}
for make, seed in ((rendered, 0), (fresh, 0), (tuned, 0), (rendered, 1), (fresh, 1), (tuned, 1)):
    name = f"{make.__name__}-{seed}"
    if sys.argv[1:] and not name.startswith(tuple(sys.argv[1:])): continue
    if not (RUNS/name/"metrics.json").is_file(): make(RUNS/name, seed)
    for on, data in photographs(make.__name__, read_run(RUNS/name).config["size"]).items():
        if on not in read_run(RUNS/name).external: evaluate_external(RUNS/name, data, on)
    keep(name)
    finished = read_run(RUNS/name)
    judged = {f"test part of {finished.config['dataset']}": finished.metrics["test"], **finished.external}
    done[name] = {on: {k: o[k] for k in ("accuracy", "correct", "n")} for on, o in judged.items()}
    print(name, done[name], flush=True)
print(json.dumps(done))
