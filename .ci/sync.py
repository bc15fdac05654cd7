"""Writes what is made from the notebooks: clean notebooks, signs_nbdev/, nbs/nbdev.yml and README.md.
With --check it does so on a copy, changes nothing and names what is out of step."""
import shutil
import sys
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export
from nbdev.quarto import refresh_quarto_yml
from readme import readme

ROOT = Path(__file__).parents[1]
SOURCES = "nbs", "signs_nbdev"

def sync(root):
    with chdir(root):
        nbdev_clean.__wrapped__()
        nbdev_export.__wrapped__()
        refresh_quarto_yml()
        Path("README.md").write_text(readme(Path("nbs/index.ipynb")), encoding="utf-8")

def made(root):
    "Every file that `sync` may write, by its path under `root`."
    paths = [root/"README.md", *(p for o in SOURCES for p in (root/o).rglob("*"))]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths
            if p.is_file() and p.name[0] != "." and p.suffix != ".pyc"}

def check():
    with TemporaryDirectory() as tmp:
        copy = Path(tmp)/"signs_nbdev"
        for o in SOURCES: shutil.copytree(ROOT/o, copy/o)
        shutil.copy(ROOT/"pyproject.toml", copy)
        sync(copy)
        here, there = made(ROOT), made(copy)
    return sorted(o for o in here | there if here.get(o) != there.get(o))

if sys.argv[1:] != ["--check"]: sync(ROOT)
elif stale := check():
    why = {".ipynb": "is not clean", ".py": "differs from its notebook", ".md": "differs from nbs/index.ipynb",
           ".yml": "differs from pyproject.toml"}
    for o in stale: print(o, why.get(Path(o).suffix, "differs"), file=sys.stderr)
    sys.exit("Out of step with the notebooks, which are the source. Run `make sync`, then look at `git diff`.")
else: print("Notebooks are clean; signs_nbdev/ and README.md are in step with them.")
