"The wheel installs into an empty environment and brings all that it needs, as settings.ini says."
import json
import re
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.metadata import PathDistribution
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from conftest import ROOT, run

MODULES = sorted(o.stem for o in (ROOT/"signs_nbdev").glob("*.py"))
LIGHT = "core", "pictures", "drift", "reader", "engine", "guard", "observe", "serve", "cli"  # what reads signs
HEAVY = "torch", "torchvision", "timm", "kornia", "matplotlib", "papermill", "IPython"       # what trains


def settings():
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT/"settings.ini")
    return parser

def needs(requirements): return {(o.name.lower(), frozenset(o.extras), o.specifier) for o in requirements}

def pins(text):
    "Name to version, of lines such as `numpy==2.4.6`."
    pairs = (o.split("==") for o in text.splitlines() if not o.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}

def test_each_need_has_its_floor_and_its_pin():
    sections = settings()
    floors = pins(run(sys.executable, ROOT/".ci/floors.py").stdout)
    exact = pins((ROOT/"constraints.txt").read_text())
    for extra, lines in {"": sections["package"]["requirements"], **sections["extras"]}.items():
        for o in map(Requirement, lines.split()):
            if o.name == "signs_nbdev": continue
            name = canonicalize_name(o.name)
            assert f">={floors[name]}" in str(o.specifier), f"{o}: what is the oldest version that was tested?"
            if extra != "kaggle":  # the one that dev leaves out
                assert exact.get(name, "0") in o.specifier, f"{o} and constraints.txt disagree: make freeze"

@pytest.fixture
def built(tree, tmp_path):
    "The sdist, and the wheel made from that sdist."
    done = run(sys.executable, "-m", "build", "--outdir", tmp_path/"dist", tree)
    assert done.returncode == 0, done.stdout
    return [next((tmp_path/"dist").glob(o)) for o in ("*.tar.gz", "*.whl")]

def test_build_and_install(built):
    sdist, wheel = built
    with tarfile.open(sdist) as f: inside = {o.partition("/")[2] for o in f.getnames()}
    assert {"settings.ini", "LICENSE", "README.md", "Makefile", "_quarto.yml", "nbs/00_core.ipynb", ".ci/run"} <= inside
    with zipfile.ZipFile(wheel) as f:
        names = f.namelist()
        data = [o.relative_to(ROOT) for part in ("web", "ready") for o in (ROOT/"signs_nbdev"/part).iterdir()]
        assert {o for o in names if ".dist-info/" not in o} == {
            *(f"signs_nbdev/{o}.py" for o in MODULES), *map(str, data), "signs_nbdev/nbs/04_train.ipynb"}
        [info] = [o.removesuffix("METADATA") for o in names if o.endswith(".dist-info/METADATA")]
        check_metadata(PathDistribution(zipfile.Path(f, info)))
    with TemporaryDirectory() as tmp: check_installed(wheel, Path(tmp))

def check_metadata(dist):
    "Requirements, extras and scripts are those of settings.ini, nothing more."
    wanted, found = settings(), [Requirement(o) for o in dist.requires]
    assert needs(o for o in found if not o.marker) == needs(map(Requirement, wanted["package"]["requirements"].split()))
    assert set(dist.metadata.get_all("Provides-Extra")) == set(wanted["extras"])
    for extra, lines in wanted["extras"].items():
        of_extra = needs(o for o in found if o.marker and o.marker.evaluate({"extra": extra}))
        assert of_extra == needs(map(Requirement, lines.split())), extra
    scripts = {f"{o.name} = {o.value}" for o in dist.entry_points if o.group == "console_scripts"}
    assert scripts == set(wanted["package"]["console_scripts"].strip().splitlines())
    assert [o.value for o in dist.entry_points if o.group == "nbdev"] == ["signs_nbdev._modidx:d"]
    links = re.findall(r"\]\(([^)\s]+)", dist.metadata.get_payload())
    assert len(links) > 50 and all(o.startswith("https://") for o in links), "PyPI shows the page alone"
    assert f"https://github.com/signs-nbdev/signs_nbdev/raw/v{dist.version}/nbs/images/signs.webp" in links
    assert dist.metadata["Requires-Python"] == ">=3.11" and dist.metadata["License-Expression"] == "Apache-2.0"

def check_installed(wheel, tmp):
    "In an empty environment, away from the sources, it reads and serves without torch; then every module imports."
    assert run(sys.executable, "-m", "venv", tmp/"venv").returncode == 0
    python = tmp/"venv/bin/python"
    install(python, f"{wheel}[serve]")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    assert not {o.name for o in site.iterdir()} & {*HEAVY}
    check_imports(python, tmp, LIGHT)
    for script in settings()["package"]["console_scripts"].strip().splitlines():
        assert run(tmp/"venv/bin"/script.split()[0], "--help", cwd=tmp).returncode == 0, script
    Image.new("RGB", (90, 120), "navy").save(tmp/"photo.jpg")
    done = run(tmp/"venv/bin/signs", "predict", "--json", "photo.jpg", cwd=tmp)
    assert done.returncode == 0 and json.loads(done.stdout)["path"] == "photo.jpg", done.stdout
    done = run(tmp/"venv/bin/signs", "train", cwd=tmp)
    assert done.returncode == 1 and "signs_nbdev[train]" in done.stdout and "Traceback" not in done.stdout, done.stdout
    install(python, f"{wheel}[serve,export]")
    check_imports(python, tmp, [o for o in MODULES if o != "__init__"])

def install(python, what):
    done = run(python, "-m", "pip", "install", "--quiet", what)
    assert done.returncode == 0, done.stdout
    assert "No broken requirements" in run(python, "-m", "pip", "check").stdout

def check_imports(python, tmp, modules):
    imports = "; ".join(f"import signs_nbdev.{o}" for o in modules)
    done = run(python, "-I", "-c", f"{imports}; print(signs_nbdev.__file__)", cwd=tmp)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith(str(tmp)), done.stdout
