"""How long a folder of many runs takes to list, against plainly parsing the same files.

    .venv/bin/python benchmarks/runs.py        # 200 runs
    .venv/bin/python benchmarks/runs.py 2000   # more

The runs are copies of those in nbs/results. The peer opens every JSON file of every run and parses it, which is the least
that any such table has to do. The best of five, in CPU time of one process, since another one's load is nobody's merit.
The last line is JSON: {"runs", "seconds", "vs_json", "markdown_s"}."""
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from signs_nbdev.runs import RunTable, list_runs

RESULTS = Path(__file__).parents[1]/"nbs/results"

def best_of_five(f) -> float:
    "CPU seconds"
    def once() -> float:
        start = time.process_time()
        f()
        return time.process_time() - start
    return min(once() for _ in range(5))

def plain(folder: Path):
    for path in folder.rglob("*.json"):
        with path.open() as f: json.load(f)
    for path in folder.rglob("*.jsonl"):
        with path.open() as f: [json.loads(line) for line in f]

def main(count: int):
    runs = sorted(o.parent for o in RESULTS.glob("*/config.json"))
    with tempfile.TemporaryDirectory() as place:
        for i in range(count): shutil.copytree(runs[i % len(runs)], Path(place)/f"run-{i:04}")
        table = list_runs(place)
        assert len(table) == count
        ours, theirs = best_of_five(lambda: list_runs(place)), best_of_five(lambda: plain(Path(place)))
        shown = best_of_five(lambda: RunTable._repr_markdown_(table))
    print(f"{count} runs are listed in {ours:.3f} s and written as a table in {shown:.3f} s; their files are parsed in {theirs:.3f} s")
    print(json.dumps({"runs": count, "seconds": ours, "vs_json": ours/theirs, "markdown_s": shown}))

if __name__ == "__main__": main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
