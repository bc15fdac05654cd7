"""Trains with what the form of GitHub's `train` workflow says, and writes the result where its page shows it.
$INPUTS holds the form as JSON; a field left empty, or at "usual", means the notebook's own default."""
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from torch import tensor

from signs_nbdev.core import read_json
from signs_nbdev.evaluate import read_run
from signs_nbdev.metrics import Counts
from signs_nbdev.report import in_words

form = json.loads(os.environ["INPUTS"])
more = shlex.split(form.pop("more", ""))
given = [*(f"{name}={value}" for name, value in form.items() if value not in ("", "usual")), *more]
out = Path("runs")/os.environ.get("GITHUB_RUN_ID", "dispatch")
failed = subprocess.call([Path(sys.executable).with_name("signs"), "train", *given, f"out={out}"])
if failed: sys.exit(failed)

run, origin = read_run(out), read_json(out/"provenance.json")
counts = Counts(tensor(run.metrics["confusion"]), tuple(run.metrics["per_class"]), run.on)
others = [f"- {in_words(o)} on pictures by others: {name}" for name, o in run.external.items()]
made = f"`{shlex.join(['signs', 'train', *given])}` at commit {(origin['commit'] or 'unknown')[:7]}, on {origin['gpu'] or origin['platform']}"
page = "\n\n".join(filter(None, (counts._repr_markdown_(), "\n".join(others), made)))
if path := os.environ.get("GITHUB_STEP_SUMMARY"):
    with open(path, "a", encoding="utf-8") as f: f.write(f"{page}\n")
print(page)
