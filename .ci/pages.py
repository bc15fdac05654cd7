"""Pages of the site that are written from something else: nbs/about/*.qmd.py print them while nbdev prepares the site.
Nothing is imported from signs_nbdev, so that its listing needs none of what its rooms need."""
import ast
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = yaml.safe_load((ROOT/"nbs/nbdev.yml").read_text(encoding="utf-8"))["website"]
FILES = f"{PROJECT['repo-url']}/blob/{PROJECT['repo-branch']}/"
LINK = re.compile(r"(?s)(```.*?```|`[^`\n]*`)|\]\((?![a-z]+:|[#/])([^)\s]+)")


def top_page(name):
    "A markdown file at the top as a page: without its title, and its links lead into the repository."
    body = (ROOT/name).read_text(encoding="utf-8").split("\n", 1)[1].strip()
    return LINK.sub(lambda m: m[1] or f"]({FILES}{m[2]}", body)

def rooms():
    "Section -> its notebooks that make a module, as the sidebar has them."
    sidebar = yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    sections = {o["section"]: o["contents"] for o in sidebar if isinstance(o, dict)}
    made = {re.search(r"File to edit: \.\./nbs/(.+\.ipynb)", o.read_text(encoding="utf-8"))[1]: o
            for o in sorted((ROOT/"signs_nbdev").glob("[!_]*.py"))}
    found = {name: {o: made[o] for o in pages if o in made} for name, pages in sections.items()}
    return {name: pages for name, pages in found.items() if pages}

def names(module):
    "Every public name of a module with its line of documentation; a value has none."
    tree = ast.parse(module.read_text(encoding="utf-8"))
    told = {o.name: ast.get_docstring(o) for o in tree.body if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    [public] = [ast.literal_eval(o.value) for o in tree.body
                if isinstance(o, ast.Assign) and getattr(o.targets[0], "id", "") == "__all__"]
    return {o: told.get(o) for o in public}

def about(module): return ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))).splitlines()[0]

def api():
    "Every public name of every room, each with its line and a link to its lesson."
    for section, pages in rooms().items():
        yield f"## {section}\n"
        for page, module in pages.items():
            public = names(module)
            yield f"### [`signs_nbdev.{module.stem}`](../{page})\n\n{about(module)}\n\n| name | what it is |\n|---|---|"
            for name, line in public.items():
                if line: yield f"| [`{name}`](../{page}#{name.lower()}) | {line.replace('|', chr(92) + '|')} |"
            if values := [f"`{o}`" for o, line in public.items() if not line]: yield "\nValues: " + ", ".join(values)
            yield ""

def citation():
    "CITATION.cff as one reads it, and as BibTeX."
    facts = yaml.safe_load((ROOT/"CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join("{" + o["name"] + "}" if "name" in o else f"{o['family-names']}, {o['given-names']}"
                           for o in facts["authors"])
    fields = dict(title=facts["title"], author=authors, version=str(facts["version"]), url=facts["repository-code"],
                  license=facts["license"])
    lines = ",\n".join(f"  {k} = {{{v}}}" for k, v in fields.items())
    return f"{facts['message']}\n\n```bibtex\n@software{{{facts['title']},\n{lines}\n}}\n```\n"
