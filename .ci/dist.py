"Tests the package as it will be installed, then builds sdist and wheel into dist/. $TAG, if set, must name its version."
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
version = re.search(r'__version__ = "(.+)"', (ROOT/"signs_nbdev/__init__.py").read_text())[1]
if tag := os.environ.get("TAG"):
    if tag != f"v{version}": sys.exit(f"The tag is {tag}, the version in signs_nbdev/__init__.py {version}: they must agree.")
    if not re.search(rf"(?m)^## {re.escape(version)}( \(\d{{4}}-\d\d-\d\d\))?$", (ROOT/"CHANGELOG.md").read_text()):
        sys.exit(f"CHANGELOG.md has no section named {version} and its day, as in: ## {version} (2026-11-22)")
subprocess.check_call([sys.executable, "-m", "pytest", "-q", "tests/test_install.py"], cwd=ROOT)
shutil.rmtree(ROOT/"dist", ignore_errors=True)
subprocess.check_call([sys.executable, "-m", "build", "--outdir", "dist", "."], cwd=ROOT)
