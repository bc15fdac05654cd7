"Turns nbs/index.ipynb into README.md, without Quarto."
import json
import re
from itertools import groupby
from posixpath import normpath

NOTE = "<!-- made from nbs/index.ipynb by `make sync`: edit the notebook, not this file -->"
LINK = re.compile(r'(?s)(```.*?```|`[^`\n]*`)|(\]\(|(?:src|href)=")(?![a-z]+:|[#/])([^)"\s]+)')


def text(source): return source if isinstance(source, str) else "".join(source)

def relink(markdown):
    "Links relative to nbs/ become relative to the top; code stays as it is."
    return LINK.sub(lambda m: m[1] or m[2] + normpath("nbs/" + m[3]), markdown)

def fenced(body, lang=""): return f"```{lang}\n{body.strip()}\n```"

def show(output):
    "One output as markdown, `None` if a reader has no use for it."
    if output["output_type"] == "stream": return fenced(text(output["text"])) if output["name"] == "stdout" else None
    if output["output_type"] == "error": raise ValueError(f"index.ipynb holds an error: {output['evalue']}")
    data = {mime: text(o) for mime, o in output["data"].items() if isinstance(o, (str, list))}
    for mime in ("text/markdown", "text/html"):
        if mime in data: return relink(data[mime].strip())
    if any(mime.startswith("image/") for mime in output["data"]):
        raise ValueError("index.ipynb has a picture among its outputs, which GitHub won't show: "
                         "save it under nbs/images and write ![what it shows](images/name.png)")
    return fenced(data["text/plain"]) if data.get("text/plain") else None

def joined(outputs):
    "Outputs with what was printed in a row made one."
    for kind, group in groupby(outputs, lambda o: o.get("name")):
        group = list(group)
        yield from [dict(group[0], text="".join(text(o["text"]) for o in group))] if kind else group

def blocks(cell):
    "A cell's blocks of markdown: what its directives leave of source and outputs."
    lines = text(cell["source"]).strip().splitlines()
    directives = {re.sub(r"\s*:\s*", ": ", o[2:].strip()) for o in lines if o.startswith("#|")}
    body = "\n".join(o for o in lines if not o.startswith("#|")).strip()
    if cell["cell_type"] == "raw" or directives & {"hide", "include: false"} or not body: return
    if cell["cell_type"] == "markdown": yield relink(body)
    else:
        if not directives & {"echo: false", "hide_input"}: yield fenced(body, "python")
        if not directives & {"output: false", "hide_output"}: yield from filter(None, map(show, joined(cell["outputs"])))

def readme(notebook):
    "README.md's text from the notebook at path `notebook`."
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join([NOTE, *(o for cell in cells for o in blocks(cell))]) + "\n"
