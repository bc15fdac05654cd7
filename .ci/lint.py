"Checks what no test runs: workflows, forms, images and scripts, each by its own linter, and fails if one complains."
import subprocess
import sys
from pathlib import Path

ROOT, BIN = Path(__file__).parents[1], Path(sys.executable).parent
SCHEMAS = {"github-workflows": ".github/workflows/*.yml", "dependabot": ".github/dependabot.yml",
           "github-issue-forms": ".github/ISSUE_TEMPLATE/[!c]*.yml", "github-issue-config": ".github/ISSUE_TEMPLATE/config.yml",
           "compose-spec": "compose.yaml", "citation-file-format": "CITATION.cff"}

def files(pattern): return sorted(str(o.relative_to(ROOT)) for o in ROOT.glob(pattern))

commands = [["check-jsonschema", "--quiet", "--builtin-schema", f"vendor.{name}", *files(o)] for name, o in SCHEMAS.items() if files(o)]
commands += [["actionlint", "-no-color"],
             ["zizmor", "--offline", "--no-progress", "--quiet", ".github"],
             ["hadolint", *files("docker/*.Dockerfile")],
             ["ruff", "check", "--quiet", "--select", "E9,F", ".ci", "benchmarks", "signs_nbdev", "tests", "setup.py"],
             ["ruff", "check", "--quiet", "--select", "F401", "nbs"]]
complaints = 0
for command, *args in commands:
    try: ended = subprocess.call([BIN/command, *args], cwd=ROOT)
    except FileNotFoundError: sys.exit(f"{command} is not in {BIN}: make lint EXTRA=lint installs it")
    complaints += bool(ended)
    print("ok " if not ended else "BAD", command, " ".join(args), flush=True)
sys.exit(f"{complaints} of {len(commands)} linters complain" if complaints else 0)
