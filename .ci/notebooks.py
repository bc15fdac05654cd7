"""Runs the notebooks' tests as nbdev-test does, each in a process of its own, and tells what they cost.
A notebook that takes more than 30 s of processor time, and does so again when it runs alone, fails. With --cover it also
tells which exported lines ran."""
import argparse
import ast
import json
import multiprocessing
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PACKAGE = str(ROOT/"signs_nbdev")
BUDGET = 30  # seconds
LEAST = 90   # per cent of the exported lines


def processor_time():
    "Seconds of this process and of those that it started and that have ended."
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system

def exported(notebook):
    "The statements of each exported cell, by their text, as they stand in the module: its path and a parsed tree."
    found = {}
    for path in Path(PACKAGE).glob("*.py"):
        header = rf"(?m)^# %% \.\./nbs/{re.escape(notebook.name)} #(\S+)\n"
        text = path.read_text()
        for start, end in zip((marks := [o.start() for o in re.finditer(header, text)]), [*marks[1:], len(text)]):
            [name] = re.match(header, text[start:]).groups()
            found[name] = str(path), ast.parse("\n"*text[:start].count("\n") + text[start:end])
    cells = json.loads(notebook.read_text())["cells"]
    return {ast.dump(ast.parse("".join(o["source"]))): found[o["id"]] for o in cells if o["id"] in found}

def as_in_module(notebook):
    "Let exported cells run under the names and line numbers that they have in the module, for coverage counts these."
    from IPython.core.compilerop import CachingCompiler
    cells, parse, compiled = exported(notebook), CachingCompiler.ast_parse, CachingCompiler.__call__

    def ast_parse(self, source, *args, **kwargs):
        tree = parse(self, source, *args, **kwargs)
        path, there = cells.get(ast.dump(tree), (None, None))
        if there and tree.body: ast.increment_lineno(tree, there.body[0].lineno - tree.body[0].lineno)
        for o in tree.body: o.in_module = path
        return tree

    def call(self, tree, filename, mode):
        return compiled(self, tree, next((o.in_module for o in tree.body if getattr(o, "in_module", None)), filename), mode)

    CachingCompiler.ast_parse, CachingCompiler.__call__ = ast_parse, call

@contextmanager
def lines_counted(notebook, folder):
    "Within, the lines that run are counted; then the counts are a file in the folder."
    from coverage import Coverage
    as_in_module(notebook)
    coverage = Coverage(f"{folder}/{notebook.stem}", source=[PACKAGE], config_file=False)
    coverage.set_option("run:disable_warnings", ["no-data-collected"])  # a page may use nothing of the package
    coverage.start()
    try: yield
    finally:
        coverage.stop()
        coverage.save()

def run(notebook, flags, folder):
    "Tests one notebook: whether it passed, seconds of processor time, and (seconds, cell) of each cell."
    from nbdev.config import get_config
    from nbdev.test import test_nb
    before, printed, config = processor_time(), StringIO(), get_config(notebook)
    with lines_counted(notebook, folder) if folder else nullcontext(), redirect_stdout(printed):
        passed, _ = test_nb(notebook, skip_flags=config.tst_flags, force_flags=flags, basepath=ROOT, cell_timing_min=0)
    cells = re.findall(r"(?m)^(\S+\.ipynb:\S+): ([\d.]+)s$", printed.getvalue())
    return passed, processor_time() - before, [(float(s), name) for name, s in cells]

def covered(folder):
    "Prints the share of lines that ran in each module, and returns that of all."
    from coverage import Coverage
    coverage = Coverage(f"{folder}/all", source=[PACKAGE], config_file=False)
    coverage.combine([str(o) for o in Path(folder).iterdir()])
    return coverage.report(omit=["*/_modidx.py"], show_missing=True, skip_covered=True)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to test; all if none")
parser.add_argument("--flags", default="", help="cells to run that are skipped elsewhere, such as realdata")
parser.add_argument("--cover", action="store_true", help="tell which exported lines ran, by the notebooks alone")
given = parser.parse_args()

if __name__ == "__main__":
    notebooks = [o.resolve() for o in given.notebooks] or sorted((ROOT/"nbs").rglob("[!_.]*.ipynb"))
    notebooks = [o for o in notebooks if ".ipynb_checkpoints" not in o.parts]
    with TemporaryDirectory() as folder:
        start = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)
        test = partial(run, flags=given.flags.split(), folder=given.cover and folder)
        workers = start(os.cpu_count())
        found = workers.map(test, notebooks)
        done = []
        try:
            with workers:
                for o, (passed, seconds, cells) in zip(notebooks, found):
                    done.append((passed, seconds, cells))
                    failed = "" if passed else "  FAILED"
                    print(f"{len(done):>3}/{len(notebooks)} {seconds:4.0f} s  {o.relative_to(ROOT)}{failed}", flush=True)
            for i, (passed, seconds, _) in enumerate(done):
                if not passed or seconds <= BUDGET or given.cover: continue
                with start(1) as alone: again = alone.submit(test, notebooks[i]).result()  # neighbours cost processor time, too
                print(f"        {again[1]:4.0f} s  {notebooks[i].relative_to(ROOT)}, alone", flush=True)
                done[i] = again
        except (KeyboardInterrupt, BrokenProcessPool):
            sys.exit("A notebook's process has gone: interrupted, or out of memory")
        slowest = sorted((o for _, _, cells in done for o in cells), reverse=True)[:10]
        print("The slowest cells:", *(f"{s:6.1f} s  {name}" for s, name in slowest), sep="\n")
        failed = [o.name for o, (passed, _, _) in zip(notebooks, done) if not passed]
        slow = [f"{o.name} {s:.0f} s" for o, (_, s, _) in zip(notebooks, done) if s > BUDGET and not given.cover]
        share = covered(folder) if given.cover and not failed else 100
    if slow: print(f"More than {BUDGET} s of processor time: {', '.join(slow)}", file=sys.stderr)
    if share < LEAST: print(f"Fewer than {LEAST} % of the exported lines ran: {share:.1f} %", file=sys.stderr)
    if failed: print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    sys.exit(bool(failed or slow or share < LEAST))
