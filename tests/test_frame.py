"What holds the house together: each fact stands once, each room knows only those before it."
import ast
import io
import json
import os
import re
import shutil
import sys
import textwrap
import tokenize
import tomllib
from configparser import ConfigParser
from importlib import import_module
from importlib.metadata import packages_distributions

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from papermill import inspect_notebook
from PIL import Image

import signs_nbdev
from conftest import BIN, ROOT, run
from signs_nbdev.cli import make_parser
from signs_nbdev.core import ASL_CLASSES
from signs_nbdev.render import spell

NOTEBOOKS = sorted(o for o in (ROOT/"nbs").rglob("[!_.]*.ipynb") if ".ipynb_checkpoints" not in o.parts)
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

def test_sidebar_lists_every_page_once_and_rooms_in_order():
    contents = yaml.safe_load((ROOT/"_quarto.yml").read_text())["website"]["sidebar"]["contents"]
    listed = [page for o in contents for page in (o["contents"] if isinstance(o, dict) else [o])]
    written = [*NOTEBOOKS, *(o.with_suffix("") for o in (ROOT/"nbs").rglob("*.qmd.py"))]
    assert sorted(listed) == sorted(o.relative_to(ROOT/"nbs").as_posix() for o in written)
    rooms = [o for o in listed if o[0].isdigit()]
    assert rooms == sorted(rooms)

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

def test_no_parameter_hides_a_name_that_the_training_notebook_uses():
    parameters = {o.target.id for o in ast.parse(parameters_cell(TRAIN)).body}
    nodes = list(ast.walk(ast.parse((ROOT/"signs_nbdev/train.py").read_text())))
    imported = {o.asname or o.name for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for o in node.names}
    defined = {o.name for o in nodes if isinstance(o, (ast.FunctionDef, ast.ClassDef))}
    assert not parameters & (imported | defined)

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

def workflows(): return {o.stem: yaml.safe_load(o.read_text()) for o in (ROOT/".github/workflows").glob("*.yml")}

def test_workflows_may_only_read_and_do_what_a_person_would():
    for name, flow in workflows().items():
        assert flow["permissions"] == {"contents": "read"}, name
        for job in flow["jobs"].values():
            assert job["timeout-minutes"], name
            for step in job["steps"]:
                if "run" in step: assert step["run"].startswith(("make ", ".ci/run")) and "${{" not in step["run"], name
                else: assert re.search(r"@(sha256:[0-9a-f]{64}|[0-9a-f]{40})$", step["uses"]), f"{name}: {step['uses']} may change"
                if step.get("uses", "").startswith("actions/checkout"): assert not step["with"]["persist-credentials"]

def test_workflows_and_hooks_make_only_what_the_makefile_has():
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT/"Makefile").read_text()))
    asked = [step.get("run", "") for flow in workflows().values() for job in flow["jobs"].values() for step in job["steps"]]
    asked += [hook["entry"] for repo in yaml.safe_load((ROOT/".pre-commit-config.yaml").read_text())["repos"] for hook in repo["hooks"]]
    asked += [json.loads((ROOT/".devcontainer/devcontainer.json").read_text())["postCreateCommand"]]
    assert {o.split()[1] for o in asked if o.startswith("make ")} <= targets

def test_train_form_has_the_notebooks_own_words():
    form = workflows()["train"][True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads `on` as true
    assert len(form) <= 25, "GitHub takes no more"
    known = inspect_notebook(str(TRAIN))
    for name, field in form.items():
        if name == "more": continue
        assert name in known, f"{name} is no parameter of the notebook"
        default = ast.literal_eval(known[name]["default"])
        assert field["description"] == known[name]["help"] + ("" if default is None else f" (default {default})")
        for o in field.get("options", []): assert o == "usual" and default is None or o in field["description"], f"{name}: {o}"

def test_train_form_becomes_a_run_and_its_page(tmp_path):
    noise = np.random.default_rng(0)
    for name in ("A", "B", "C"):
        (tmp_path/"signs"/name).mkdir(parents=True)
        for i in range(10): Image.fromarray(noise.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(tmp_path/f"signs/{name}/{i}.png")
    form = {"dataset": "folder", "split": "usual", "size": "16", "arch": "signnet_tiny", "epochs": "1", "seed": "",
            "more": f"data_root={tmp_path}/signs 'recipe={{\"affine\": {{\"rotate\": 5.0}}}}' device=cpu"}
    env = os.environ | dict(GITHUB_RUN_ID="7", GITHUB_STEP_SUMMARY=str(tmp_path/"page"))
    dispatch = sys.executable, ROOT/".ci/dispatch.py"
    done = run(*dispatch, cwd=tmp_path, env=env | dict(INPUTS=json.dumps(form)))
    assert done.returncode == 0, done.stdout
    page, config = (tmp_path/"page").read_text(), json.loads((tmp_path/"runs/7/config.json").read_text())
    assert (config["size"], config["recipe"], config["seed"]) == (16, {"affine": {"rotate": 5.0}}, 0)
    assert re.match(r"\*\*.+ on signs, .+\*\*, macro F1 ", page) and "| weakest |" in page and "`signs train dataset=folder size=16 " in page
    assert {"metrics.json", "model.safetensors", "notebook.ipynb"} <= {o.name for o in (tmp_path/"runs/7").iterdir()}
    failed = run(*dispatch, cwd=tmp_path, env=env | dict(GITHUB_RUN_ID="8", INPUTS=json.dumps(form | {"arch": "signet"})))
    assert failed.returncode == 1 and "signnet" in failed.stdout and (tmp_path/"page").read_text() == page

TIMM = {"forward_features", "forward_head", "group_matcher", "get_classifier", "reset_classifier"} # what timm asks of every network
FAMILIES = {"op", "draws", "fuses", "corruption", "register_model", "router.get", "router.post"} # each says what its functions take and give

def methods(module, cls):
    "What a public class adds to those it stems from, and how it is made."
    above = getattr(import_module(f"signs_nbdev.{module.stem}"), cls.name).__mro__[1:]
    known = TIMM.union(*map(vars, above)) - {"__init__"}
    return [f for f in cls.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) and f.name not in known
            and (f.name[0] != "_" or f.name == "__init__")]

def undocumented(module):
    "What of a module's public functions, classes and records lacks its line, or its docment beside it."
    text = module.read_text()
    told = {o.start[0] for o in tokenize.generate_tokens(io.StringIO(text).readline) if o.type == tokenize.COMMENT}
    tree = ast.parse(text)
    [public] = [ast.literal_eval(o.value) for o in tree.body if isinstance(o, ast.Assign) and getattr(o.targets[0], "id", "") == "__all__"]
    for o in tree.body:
        decorators = {ast.unparse(d).split("(")[0] for d in getattr(o, "decorator_list", [])}
        is_class = isinstance(o, ast.ClassDef)
        if not isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or o.name[0] == "_": continue
        if o.name not in public and "patch" not in decorators: continue
        line = ast.get_docstring(o, clean=False)
        if not line or "\n" in line: yield f"{o.name}: one line of documentation"
        records = is_class and {"dataclass"} & decorators | {ast.unparse(b) for b in getattr(o, "bases", [])} & {"NamedTuple", "BaseModel"}
        if records: yield from (f"{o.name}: {f.target.id}" for f in o.body if isinstance(f, ast.AnnAssign) and f.end_lineno not in told)
        made = methods(module, o) if is_class else [o]
        for f in made if not decorators & FAMILIES else ():
            defaults = dict(zip([a.arg for a in f.args.args[::-1]], f.args.defaults[::-1]))
            defaults |= {a.arg: d for a, d in zip(f.args.kwonlyargs, f.args.kw_defaults) if d}
            own = [a for a in (*f.args.args, *f.args.kwonlyargs) if a.arg != "self" and ast.unparse(a.annotation or a) != "ASGIApp"]
            yield from (f"{o.name}: {a.arg}" for a in own if defaults.get(a.arg, a).end_lineno not in told)
            if f.returns and ast.unparse(f.returns) != "None" and f.returns.end_lineno not in told: yield f"{o.name}: what {f.name} returns"
            if f.name != "__init__" and not f.returns and not ast.get_docstring(f): yield f"{o.name}: what {f.name} does"

@pytest.mark.parametrize("module", MODULES, **by_name)
def test_public_names_are_documented(module): assert list(undocumented(module)) == []

BASE = {"numpy", "PIL", "onnxruntime", "tqdm"} | sys.stdlib_module_names

def comes_with_the_base(module):
    "Whether a module, and all that it imports as it is imported, needs nothing but the base requirements."
    for o in ast.parse((ROOT/f"signs_nbdev/{module}.py").read_text()).body:
        if isinstance(o, ast.Import) and {a.name.split(".")[0] for a in o.names} - BASE: return False
        if isinstance(o, ast.ImportFrom) and not (comes_with_the_base(o.module) if o.level else o.module.split(".")[0] in BASE): return False
    return True

def test_help_names_every_room_in_order_with_what_it_needs_and_what_lives_there():
    told = re.findall(r"(?m)^      (\w+\*?) +(.+)$", signs_nbdev.__doc__)
    rooms = sorted(MODULES, key=source_of)
    assert [name for name, _ in told] == [o.stem + "*"*comes_with_the_base(o.stem) for o in rooms]
    table = re.findall(r"(?m)^\| \[\w+\]\(.+?\) \| `(\w+)\.py` \| (.+?)(?:; \[.*)? \|$", (ROOT/"README.md").read_text())
    said = {name.rstrip("*"): words for name, words in told}
    assert {name: words.replace("`", "") for name, words in table} == {name: said[name] for name, _ in table}
    assert [o for o in said if o not in dict(table)] == [o for o in said if o.startswith("cli_")]

def test_help_shows_what_works(tmp_path):
    shown = re.search(r"(?s)Python:\n\n(.+?)\n\n(?=\S)", signs_nbdev.__doc__)[1]
    Image.fromarray(spell("C", 96)[0].numpy()).save(tmp_path/"photo.jpg")
    done = run(sys.executable, "-c", textwrap.dedent(shown), cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.split()[0] in ASL_CLASSES, done.stdout
    for line in re.findall(r"(?m)^    (signs .+)$", signs_nbdev.__doc__):
        name, *words = line.split()[1:]
        if name != "--help": make_parser(name).parse_args(words)
