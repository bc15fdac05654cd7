"The wheel installs into an empty environment and brings all that it needs, as settings.ini says."
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.metadata import PathDistribution
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from packaging.requirements import Requirement

from conftest import ROOT, run

MODULES = sorted(o.stem for o in (ROOT/"signs_nbdev").glob("*.py"))


def settings():
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT/"settings.ini")
    return parser

def needs(requirements): return {(o.name.lower(), frozenset(o.extras), o.specifier) for o in requirements}

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
        assert {o for o in names if ".dist-info/" not in o} == {f"signs_nbdev/{o}.py" for o in MODULES}
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
    assert dist.metadata["Requires-Python"] == ">=3.11" and dist.metadata["License-Expression"] == "Apache-2.0"

def check_installed(wheel, tmp):
    "In an empty environment, away from the sources, every module imports and no requirement is missing."
    assert run(sys.executable, "-m", "venv", tmp/"venv").returncode == 0
    python = tmp/"venv/bin/python"
    done = run(python, "-m", "pip", "install", "--quiet", wheel)
    assert done.returncode == 0, done.stdout
    imports = "; ".join(f"import signs_nbdev.{o}" for o in MODULES if o != "__init__")
    done = run(python, "-I", "-c", f"{imports}; print(signs_nbdev.__file__)", cwd=tmp)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith(str(tmp)), done.stdout
    assert "No broken requirements" in run(python, "-m", "pip", "check").stdout
    for script in settings()["package"]["console_scripts"].strip().splitlines():
        assert run(tmp/"venv/bin"/script.split()[0], "--help", cwd=tmp).returncode == 0, script
