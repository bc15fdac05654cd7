"What holds the house together: each fact stands once, each room knows only those before it."
import ast
import json
import re
import shutil
import sys
import tomllib
from configparser import ConfigParser
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import BIN, ROOT, run

NOTEBOOKS = sorted(o for o in (ROOT/"nbs").glob("*.ipynb") if not o.name.startswith("_"))
MODULES = sorted(o for o in (ROOT/"signs_nbdev").glob("*.py") if not o.name.startswith("_"))
TRAIN = ROOT/"nbs/04_train.ipynb"
by_name = dict(ids=lambda o: o.name)


def requirements():
    "Every line of need in settings.ini, parsed."
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT/"settings.ini")
    return [Requirement(o) for text in (parser["package"]["requirements"], *parser["extras"].values())
            for o in text.strip().splitlines()]

def source_of(module): return re.search(r"File to edit: \.\./nbs/(.+\.ipynb)", module.read_text())[1]

def parameters_cell(notebook):
    [cell] = [o for o in json.loads(notebook.read_text())["cells"] if "parameters" in o["metadata"].get("tags", [])]
    return "".join(cell["source"])

def test_quarto_file_stands_once():
    link = ROOT/"nbs/_quarto.yml"
    assert link.is_symlink() and link.resolve() == ROOT/"_quarto.yml" and not (ROOT/"_quarto.yml").is_symlink()

def test_sidebar_lists_every_notebook_in_order():
    contents = yaml.safe_load((ROOT/"_quarto.yml").read_text())["website"]["sidebar"]["contents"]
    listed = [page for o in contents for page in (o["contents"] if isinstance(o, dict) else [o])]
    assert listed == ["index.ipynb", *(o.name for o in NOTEBOOKS if o.name != "index.ipynb")]

def test_each_dependency_stands_once():
    names = [canonicalize_name(o.name) for o in requirements() if o.name != "signs_nbdev"]
    assert len(names) == len(set(names)), sorted(o for o in names if names.count(o) > 1)
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    assert not {"dependencies", "optional-dependencies", "scripts", "version"} & project.keys()
    assert not [*ROOT.glob("*requirements*"), *ROOT.glob("environment*"), *ROOT.glob("setup.cfg")]
    for o in (ROOT/".github").rglob("*.yml"): assert "pip install" not in o.read_text(), o

@pytest.mark.parametrize("module", MODULES, **by_name)
def test_module_imports_only_what_is_declared_and_below_it(module):
    def imported(nodes):
        for node in nodes:
            if isinstance(node, ast.Import): yield from (o.name for o in node.names)
            elif isinstance(node, ast.ImportFrom):
                named = [node.module] if node.module else [o.name for o in node.names]
                yield from ("." * node.level + o for o in named)
    is_ours = lambda name: name.startswith((".", "signs_nbdev"))
    tree = ast.parse(module.read_text())
    for o in filter(is_ours, imported(tree.body)):  # an import within a function may reach up, and says why
        other = ROOT/"signs_nbdev"/f"{o.removeprefix('signs_nbdev').strip('.')}.py"
        assert source_of(other) < source_of(module), f"{module.name} imports {other.name}, which lies above it"
    known = {canonicalize_name(o.name) for o in requirements()}
    outer = {o.split(".")[0] for o in imported(ast.walk(tree)) if not is_ours(o)} - sys.stdlib_module_names
    owners = packages_distributions()
    missing = {o for o in outer if not known & {canonicalize_name(d) for d in owners.get(o, [o])}}
    assert not missing, f"not in settings.ini: {missing}"

@pytest.mark.parametrize("notebook", NOTEBOOKS, **by_name)
def test_notebook_is_light_and_runs_on_any_jupyter(notebook):
    assert json.loads(notebook.read_text())["metadata"]["kernelspec"] == {
        "display_name": "python3", "language": "python", "name": "python3"}
    assert notebook.stat().st_size <= 300_000

def test_every_module_has_its_notebook():
    for o in MODULES: assert (ROOT/"nbs"/source_of(o)).exists(), f"{o.name} is left over from a notebook that is gone"

def test_cleaning_keeps_the_parameters_tag(tmp_path):
    (tmp_path/"nbs").mkdir()
    shutil.copy(ROOT/"pyproject.toml", tmp_path)
    notebook = json.loads(TRAIN.read_text())
    for o in notebook["cells"]: o["metadata"]["collapsed"] = True
    copy = tmp_path/"nbs/04_train.ipynb"
    copy.write_text(json.dumps(notebook))
    assert run(BIN/"nbdev-clean", cwd=tmp_path).returncode == 0
    assert "collapsed" not in copy.read_text() and parameters_cell(copy) == parameters_cell(TRAIN)

def test_papermill_shows_every_parameter_with_its_help():
    names = [o.target.id for o in ast.parse(parameters_cell(TRAIN)).body]
    shown = run(BIN/"papermill", "--help-notebook", TRAIN).stdout
    for name in names:
        assert re.search(rf"(?m)^  {name}: .*\(default .*\)\s+\S+", shown), f"{name} has no help:\n{shown}"

@pytest.mark.parametrize("notebook", NOTEBOOKS, **by_name)
def test_outputs_tell_nothing_of_the_machine_they_were_made_on(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        for o in cell.get("outputs", []):
            assert o["output_type"] != "error", f"cell {cell['id']} ended in an error"
            texts = [o.get("text", ""), *(v for k, v in o.get("data", {}).items() if k.startswith("text"))]
            found = re.search(r"(/home|/tmp|/root|/work|/Users)/\S*", "".join(map("".join, texts)))
            assert not found, f"cell {cell['id']} shows {found[0]}"

def test_workflows_may_only_read_and_do_what_a_person_would():
    for path in (ROOT/".github/workflows").glob("*.yml"):
        flow = yaml.safe_load(path.read_text())
        assert flow["permissions"] == {"contents": "read"}, path.name
        commands = [step["run"] for job in flow["jobs"].values() for step in job["steps"] if "run" in step]
        assert all(o.startswith(("make ", ".ci/run")) for o in commands), path.name
