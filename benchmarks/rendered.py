"""What rendered hands are worth on photographs: a model that has seen nothing else, and one that began with them.

    .venv/bin/python benchmarks/rendered.py

Needs SIGNS_DATA. Runs go to runs/results/, and finished ones are kept, so it can be stopped and started again. What a
reader needs of them (no weights, no pictures) is copied to nbs/results/, where nbs/01e_sessions.ipynb makes its table.

rendered-S  trained on rendered hands alone, of many people and rooms; judged on the frames of the ASL Alphabet and on
            other people's photos. Poses, ranges and the length of training were chosen on frames 1 to 1000 only.
tuned-S     begun with the weights of rendered-0, then trained on frames 1 to 2000, tested on 2001 to 2500.
The runs to compare tuned-S with, begun with fresh weights, are asl-block-hands-S of benchmarks/results.py.
The last line is JSON: {name: {what it was judged on: {"accuracy": ..., "correct": ..., "n": ...}}}."""
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from signs_nbdev.core import ASL_CLASSES, data_root
from signs_nbdev.evaluate import evaluate_external, read_run, run
from signs_nbdev.sessions import hands_data
from signs_nbdev.sources import SOURCES, load, register
from signs_nbdev.train import TrainConfig

ROOT = Path(__file__).parents[1]
RUNS = ROOT/"runs/results"
KEPT = ("config.json", "provenance.json", "metrics.json", "external.json", "history.jsonl")
LETTERS = 26  # the first classes of the manual alphabet; the rest are del, nothing, space

def hands_wide(root: None = None, size: int = 48):
    "Many people and rooms, two frames of each: too few to cut a film, so they count as stills"
    return replace(hands_data(size=size, sessions=320, frames=2, variety=0.8), name="hands_wide", frames=None)

register(replace(SOURCES["hands"], name="hands_wide", loader=hands_wide))

def rendered(folder: Path, seed: int):
    "Train on rendered hands, then judge on photographs"
    if not (folder/"metrics.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        run(TrainConfig(dataset="hands_wide", seed=seed, out=str(folder)))
    size = read_run(folder).config["size"]
    asl = load("asl_alphabet", size=size)
    asl = asl[asl.part == 0]
    judged = {"frames 1-1000, chosen on": asl[asl.frames <= 1000], "frames 1001-2500": asl[asl.frames > 1000],
              "frames 2001-2500": asl[asl.frames > 2000], "all frames": asl}
    for name in ("desk", "studio"):
        photos = load("folder", data_root()/"asl_external"/name, size, classes=ASL_CLASSES)
        judged[f"{name}, letters"] = photos[photos.labels < LETTERS]
    for name, data in judged.items():
        if name not in read_run(folder).external: evaluate_external(folder, data, name)

def tuned(folder: Path, seed: int):
    "Train on the recording, from the weights of rendered-0"
    if (folder/"metrics.json").is_file(): return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = dict(dataset="asl_alphabet", split="block", seed=seed, start_from=RUNS/"rendered-0", out=folder)
    subprocess.run([Path(sys.executable).parent/"papermill", ROOT/"nbs/04_train.ipynb", folder/"notebook.ipynb",
                    *(str(o) for k, v in given.items() for o in ("-p", k, v)), "--log-output", "--no-progress-bar"],
                   cwd=ROOT, check=True)

done = {}
for make, seed in ((rendered, 0), (tuned, 0), (tuned, 1)):
    name = f"{make.__name__}-{seed}"
    make(RUNS/name, seed)
    (ROOT/"nbs/results"/name).mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        if (RUNS/name/file).is_file(): shutil.copy(RUNS/name/file, ROOT/"nbs/results"/name/file)
    finished = read_run(RUNS/name)
    judged = {f"test part of {finished.config['dataset']}": finished.metrics["test"], **finished.external}
    done[name] = {on: {k: o[k] for k in ("accuracy", "correct", "n")} for on, o in judged.items()}
    print(name, done[name], flush=True)
print(json.dumps(done))
