"Makes the virtual environment named, or mends it. Written for any Python 3, so that an old one can be told."
import subprocess
import sys
from pathlib import Path

home = Path(sys.argv[1])
python = home/"bin/python"

def runs(*args):
    try: return not subprocess.call([str(python), *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError: return False

# pip writes RECORD last: a package without one was cut off while it was being installed.
cut_off = [o for o in home.glob("lib/python*/site-packages/*.dist-info") if not (o/"RECORD").exists()]
if cut_off or not runs("-c", ""):
    if sys.version_info < (3, 11):
        sys.exit("signs_nbdev needs Python 3.11 or newer; {} is {}.{}. Name another: make PYTHON=python3.13".format(
            sys.executable, *sys.version_info))
    clear = ["--clear"] if (home/"pyvenv.cfg").exists() else []
    if subprocess.call([sys.executable, "-m", "venv", *clear, str(home)]): sys.exit(1)
if not runs("-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
    sys.exit("{} holds a Python older than 3.11: remove it, or name another: make VENV=.venv-new".format(home))
if not runs("-m", "pip", "--version"): subprocess.check_call([str(python), "-m", "ensurepip"])
