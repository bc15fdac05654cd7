"""Trains with what the form of GitHub's `train` workflow says, and writes the result where its page shows it.
$INPUTS holds the form as JSON; a field left empty, or at "usual", means the notebook's own default."""
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

form = json.loads(os.environ["INPUTS"])
more = shlex.split(form.pop("more", ""))
given = [*(f"{name}={value}" for name, value in form.items() if value not in ("", "usual")), *more]
out = Path("runs")/os.environ.get("GITHUB_RUN_ID", "dispatch")
signs = Path(sys.executable).with_name("signs")
done = subprocess.run([signs, "train", "--json", *given, f"out={out}"], stdout=subprocess.PIPE, text=True)
if done.returncode: sys.exit(done.returncode)

result = json.loads(done.stdout)
accuracy = f"{result['accuracy']:.2%} ± {result['standard_error']:.2%}"
rows = {"accuracy": f"{accuracy} ({result['correct']:,} of {result['n']:,})",
        "tested on": result["on"], "parameters": f"`{' '.join(given) or 'all defaults'}`"}
page = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
with open(os.environ.get("GITHUB_STEP_SUMMARY", os.devnull), "a", encoding="utf-8") as f: f.write(f"{page}\n")
print(page)
