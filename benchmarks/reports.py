"""Makes the honest report of runs that have their weights, and keeps its numbers for the pages.

    .venv/bin/python benchmarks/reports.py                        # of all finished runs in runs/results/
    .venv/bin/python benchmarks/reports.py FOLDER [FOLDER ...]    # of these

Needs SIGNS_DATA. Each run folder gets report.html, report.json and figures/, with pictures of the data in them, so they
stay where they are. What is copied to nbs/results/<name>/report.json is numbers alone; nbs/05e_report.ipynb draws from
them. Beside a run stand those that are kept in nbs/results/: alike but for split, seed and fold, and every leaky one of
the same data set.
The last line is JSON: {name: {"accuracy": ..., "correct": ..., "n": ...}}."""
import json
import shutil
import sys
from pathlib import Path

from signs_nbdev.core import SignsError
from signs_nbdev.evaluate import read_run, report
from signs_nbdev.report import differing

ROOT = Path(__file__).parents[1]
KEPT = ROOT/"nbs/results"


def companions(run):
    "Kept runs that a reader should see beside this one"
    for path in sorted(KEPT.glob("*/config.json")):
        try: other = read_run(path.parent)
        except SignsError: continue
        same = other.config["dataset"] == run.config["dataset"]
        if same and path.parent.name != run.folder.name and (other.metrics["leaky"] or not differing(other.config, run.config)):
            yield path.parent

def main():
    done = {}
    for folder in map(Path, sys.argv[1:] or sorted(o.parent for o in (ROOT/"runs/results").glob("*/model.safetensors"))):
        made = report(folder, beside=[*companions(read_run(folder))])
        if (KEPT/folder.name).is_dir(): shutil.copy(folder/"report.json", KEPT/folder.name)
        done[folder.name] = {k: made.values["test"][k] for k in ("accuracy", "correct", "n")}
        print(folder.name, done[folder.name], flush=True)
    print(json.dumps(done))

if __name__ == "__main__": main()
