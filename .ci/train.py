"""Runs nbs/04_train.ipynb by papermill in a new folder under runs/ and says where the result is.
usage: train.py NAME [papermill's options]; an empty NAME means the data set's."""
import json
import logging
import sys
import time
from pathlib import Path

from papermill import inspect_notebook
from papermill.cli import papermill
from papermill.exceptions import PapermillExecutionError

NOTEBOOK = "nbs/04_train.ipynb"
name, *args = sys.argv[1:]
given = dict(zip(args, args[1:]))
if "out" in given: sys.exit("make train makes the run's folder itself: name it by NAME=, or call papermill")
dataset = given.get("dataset") or inspect_notebook(NOTEBOOK)["dataset"]["default"].strip("\"'")
out = Path("runs")/f"{time.strftime('%Y%m%d-%H%M%S')}-{name or Path(dataset).name}"
out.mkdir(parents=True)

def tidy(record):
    "Keeps what the notebook prints, one line a line, and drops papermill's count of cells."
    record.msg = record.getMessage().strip("\n")
    return record.msg and not record.msg.startswith(("Executing Cell", "Ending Cell"))

logging.getLogger("papermill").addFilter(tidy)
try: papermill([NOTEBOOK, f"{out}/notebook.ipynb", *args, "-p", "out", str(out), "--log-output"])
except PapermillExecutionError as e: problem = f"{e.ename}: {e.evalue}"
except SystemExit as e:
    codes = {0: "", None: "", 1: "Interrupted", 138: "The kernel died: killed, or out of memory"}
    problem = codes.get(e.code, "papermill did not start")
metrics, notebook = out/"metrics.json", out/"notebook.ipynb"
if not problem and not metrics.exists(): problem = "The notebook ended without writing metrics.json"
if problem and notebook.exists(): sys.exit(f"\n{problem}\nNo result. {notebook} shows how far it came.")
if problem:
    out.rmdir()
    sys.exit(problem)

result = json.loads(metrics.read_text())
test, kind = result["test"], f"{result['split']} split{', leaky' if result['leaky'] else ''}"
print(f"\naccuracy  {test['accuracy']:.2%} +- {test['standard_error']:.2%} ({test['correct']:,} of {test['n']:,}, {kind})")
print(f"notebook  {notebook}\nmodel     {out}/model.safetensors")
