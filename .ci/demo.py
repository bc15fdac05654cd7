"Builds the page that reads in the browser into _docs/demo/: signs_nbdev/web/, a reader of its own, the models, ONNX Runtime."
import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path

from signs_nbdev.pictures import MAX_PIXELS
from signs_nbdev.reader import Reader, ready
from signs_nbdev.serve import WEB, ModelCard

ROOT = Path(__file__).parents[1]
DEMO = ROOT/"_docs/demo"
# `npm view onnxruntime-web@VERSION dist.integrity` tells the checksum of another version.
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PROGRAM, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm" # the smallest that run our models

# A static server sends no headers of ours, so the page itself says what it may do: load from its own folder, and no more.
POLICY = ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; style-src 'self'; "
          "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'")
PUT = {'<meta charset="utf-8">': f'\n  <meta http-equiv="Content-Security-Policy" content="{POLICY}">',
       "</footer>": '\n<p class="small"><a href="../">What this is, how well it reads, and how it was made</a></p>'}


def fetch(place): # A folder -> the package's archive in it, checked
    "What npm packs of the pinned version"
    done = subprocess.run(["npm", "pack", f"{PACKAGE}@{VERSION}"], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode: sys.exit(f"npm could not fetch {PACKAGE} {VERSION}:\n{done.stderr}")
    archive = Path(place)/f"{PACKAGE}-{VERSION}.tgz"
    got = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if got != INTEGRITY: sys.exit(f"{archive.name} is not the one that was tried: got {got}, wanted {INTEGRITY}")
    return archive

def card(name, path): # What the server tells of a model, and where it lies
    "A model as the page knows it"
    model = Reader(path)
    told = model.meta | {"name": name, "sha256": model.sha256}
    return {k: told[k] for k in ModelCard.model_fields} | {"file": f"{path.name}?{model.sha256[:12]}", "bytes": path.stat().st_size}

def build(demo):
    "The page, whole, in a folder that any static server can serve"
    shutil.rmtree(demo, ignore_errors=True)
    shutil.copytree(WEB, demo)
    for o in sorted((ROOT/"demo").glob("*.js")): shutil.copy(o, demo)  # reader.js takes the other's place
    page = (demo/"index.html").read_text(encoding="utf-8")
    for place, more in PUT.items():
        assert page.count(place) == 1, f"index.html has not one {place}"
        page = page.replace(place, place + more)
    (demo/"index.html").write_text(page, encoding="utf-8")

    with tempfile.TemporaryDirectory() as place, tarfile.open(fetch(place)) as archive:
        program, wasm = (archive.extractfile(f"package/dist/{o}").read() for o in (PROGRAM, WASM))
    packed = gzip.compress(wasm, mtime=0)  # a quarter of it, also where the server packs nothing
    runtime = {"file": f"ort-{VERSION}.wasm.gzip", "bytes": len(packed)}
    (demo/"ort.js").write_bytes(program)
    (demo/runtime["file"]).write_bytes(packed)
    for o in ("LICENSE", "ThirdPartyNotices.txt"): # npm's package lacks them; the wheel of the same project has them
        (demo/f"ort-{Path(o).stem}.txt").write_bytes((files("onnxruntime")/o).read_bytes())

    for o in ready().values(): shutil.copy(o, demo)
    facts = {"RUNTIME": runtime, "MODELS": [card(*o) for o in ready().items()], "MAX_PIXELS": MAX_PIXELS}
    lines = [f"export const {k} = {json.dumps(v, allow_nan=False)};\n" for k, v in facts.items()]
    (demo/"built.js").write_text("// Written by .ci/demo.py.\n" + "".join(lines), encoding="utf-8")

if __name__ == "__main__":
    build(DEMO)
    print(f"{DEMO.relative_to(ROOT)}/ is {sum(o.stat().st_size for o in DEMO.iterdir())/1e6:.1f} MB, for any static server. Look at it:\n"
          f"{Path(sys.executable).name} -m http.server --directory {DEMO.parent.name}\nand open http://localhost:8000/{DEMO.name}/")
