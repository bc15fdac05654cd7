"The site as far as it can be checked without Quarto: its configuration, and the pages that nbdev hands to it."
import ast
import json
import os
import re
import shutil
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from itertools import dropwhile
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from conftest import BIN, ROOT, run

QUARTO = yaml.safe_load((ROOT/"_quarto.yml").read_text())
NBDEV = yaml.safe_load((ROOT/"nbs/nbdev.yml").read_text())["website"]
SITE, REPO = NBDEV["site-url"].rstrip("/") + "/", NBDEV["repo-url"].rstrip("/")
SOURCES = ".ipynb", ".qmd", ".md"
GITHUB = {"issues", "releases", "actions", "discussions", "pulls", ""}
DEMO = "demo/index.html"  # built after the pages
NOTEBOOKS = sorted(o for o in (ROOT/"nbs").rglob("[!_.]*.ipynb") if ".ipynb_checkpoints" not in o.parts)
FLAGS = set(tomllib.loads((ROOT/"pyproject.toml").read_text())["tool"]["nbdev"]["tst_flags"])
CELL_OPTIONS = {"echo", "output", "eval", "code-fold", "code-summary", "fig-alt"} | FLAGS # Quarto's that we use, and what it passes over


class Html(HTMLParser):
    "Links and ids of some HTML"
    def __init__(self, html):
        super().__init__()
        self.links, self.ids = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value: self.links.append(value)
            if name == "id": self.ids.append(value)

def cells_of(notebook, kind):
    "The text of all cells of a kind"
    return "\n\n".join("".join(o["source"]) for o in json.loads(notebook.read_text())["cells"] if o["cell_type"] == kind)

def slug(text):
    "A heading's id as pandoc makes it: https://pandoc.org/MANUAL.html#extension-auto_identifiers"
    text = re.sub(r"[^\w\s.-]", "", text).strip().lower()
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", text)) or "section"

@dataclass
class Page:
    "One page: where its source lies under nbs/, its front matter, its blocks of markdown and of HTML"
    path: str
    front: dict
    markdown: list[str]
    html: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, root, path):
        if path.suffix != ".ipynb":
            front, body = re.match(r"(?s)(?:---\n(.*?)\n---\n)?(.*)", path.read_text()).groups()
            return cls(path.relative_to(root).as_posix(), yaml.safe_load(front or "") or {}, [body])
        page, cells = cls(path.relative_to(root).as_posix(), {}, []), json.loads(path.read_text())["cells"]
        for cell in cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "raw": page.front |= yaml.safe_load(source.strip().strip("-"))
            elif cell["cell_type"] == "markdown": page.markdown.append(source)
            for o in cell.get("outputs", []):
                data = {k: "".join(v) for k, v in o.get("data", {}).items() if isinstance(v, (str, list))}
                if "text/markdown" in data: page.markdown.append(data["text/markdown"])
                elif "text/html" in data: page.html.append(data["text/html"])
        return page

    @property
    def target(self) -> str: return join(dirname(self.path), self.front.get("output-file", Path(self.path).stem + ".html"))

    @cached_property
    def tokens(self) -> list[Token]:
        whole = [o for text in self.markdown for o in MarkdownIt().enable("table").parse(text)]
        return [token for o in whole for token in (o, *(o.children or []))]

    @cached_property
    def links(self) -> list[str]:
        told = [o.attrs.get("href") or o.attrs.get("src") for o in self.tokens if o.type in ("link_open", "image")]
        raw = [o.content for o in self.tokens if o.type in ("html_block", "html_inline")] + self.html
        return told + [link for o in raw for link in Html(o).links]

    @cached_property
    def anchors(self) -> set[str]:
        ids, seen = set(), Counter()
        for opened, line in zip(self.tokens, self.tokens[1:]):
            if opened.type != "heading_open": continue
            words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.content)
            if given := re.search(r"\{[^}]*#([\w.-]+)[^}]*\}$", words): ids.add(given[1])
            else:
                name = slug(words)
                ids.add(f"{name}-{seen[name]}" if seen[name] else name)
                seen[name] += 1
        return ids | {i for o in self.html for i in Html(o).ids}

@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    "A copy of what the site is made from, processed as `make docs` has it done before Quarto, without real data."
    place = tmp_path_factory.mktemp("site")
    for o in ("nbs", "signs_nbdev", ".ci"):
        shutil.copytree(ROOT/o, place/o, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for o in ("pyproject.toml", "_quarto.yml", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"): shutil.copy(ROOT/o, place)
    environment = {k: v for k, v in os.environ.items() if k not in ("SIGNS_DATA", "IN_TEST")}
    code = "from nbdev.serve import proc_nbs; proc_nbs(n_workers=0)"
    done = run(sys.executable, "-W", "ignore", "-c", code, cwd=place, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    return place/"_proc"

@pytest.fixture(scope="session")
def pages(tree):
    "All pages, by the path of their source."
    return {o.path: o for o in (Page.read(tree, p) for p in sorted(tree.rglob("*")) if p.suffix in SOURCES)}

def test_quarto_will_take_the_configuration_and_the_pages(pages, tmp_path):
    "panache reads pages as Pandoc does and knows Quarto's own schema: wrong keys and values, headings that skip a level, open fences."
    (tmp_path/"made").mkdir()
    shutil.copy(ROOT/"_quarto.yml", tmp_path)
    shutil.copy(ROOT/"nbs/nbdev.yml", tmp_path/"made/_quarto.yml")
    for page in pages.values():
        path = (tmp_path/page.path).with_suffix(".qmd")
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n\n".join([f"---\n{yaml.safe_dump(page.front)}---", *page.markdown]) + "\n")
    # An interval such as [0, 1] looks like a reference.
    rules = "--extend-select", "quarto-schema-unknown-key", "--ignore", "undefined-references"
    done = run(BIN/"panache", "lint", "--message-format", "short", *rules, ".", "_quarto.yml", "made/_quarto.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert set(QUARTO["website"]) & set(NBDEV) == set(), "what is made from pyproject.toml stands there only"

def test_everything_that_the_configuration_names_exists(pages, tree):
    site = QUARTO["website"]
    items = [*site["navbar"]["left"], *site["navbar"]["right"], *site["page-footer"]["right"]]
    named = [o["href"] for o in items if "://" not in o["href"]] + [site["favicon"], site["image"]]
    for o in site["sidebar"]["contents"]: named += o["contents"] if isinstance(o, dict) else [o]
    assert [o for o in named if o not in pages and not (tree/o).is_file()] == [DEMO]
    pages_first, demo_last = run("make", "--no-print-directory", "--dry-run", "docs", cwd=ROOT).stdout.splitlines()[-2:]
    assert pages_first.endswith("nbdev-docs") and demo_last.endswith(".ci/demo.py"), "for nbdev-docs makes _docs/ anew"
    assert all(o["href"].startswith(REPO) for o in items if "://" in o["href"])

def test_icon_and_card_show_what_the_code_draws():
    done = run(sys.executable, ROOT/".ci/art.py", "--check")
    assert done.returncode == 0, done.stdout

@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda o: o.name)
def test_page_keeps_all_that_its_notebook_says(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    first = next("".join(o["source"]) for o in cells if o["cell_type"] == "markdown")
    assert re.fullmatch(r"# \S.*\n+> \S.*\n*", first), (
        "nbdev takes the first markdown cell for title and description and drops the rest: the why goes into the next cell")
    for o in cells:
        if o["cell_type"] != "code" or not (lines := [x for x in o["source"] if not x.startswith(("%", "!"))]): continue
        body, directives = ast.parse("".join(lines)).body, {x[2:].split(":")[0].strip() for x in lines if x.startswith("#|")}
        imports = [isinstance(x, (ast.Import, ast.ImportFrom)) for x in body]
        if directives & {*FLAGS, "hide"}:
            assert not any(imports) or all(imports), f"cell {o['id']}: nbdev runs every cell with an import in it, data or not: imports go into a cell of their own"
        shows = body and isinstance(body[-1], ast.Expr) and isinstance(body[-1].value, (ast.Name, ast.Attribute, ast.JoinedStr))
        assert not shows or o["outputs"] or directives & {"hide", "eval"}, f"cell {o['id']}: what it shows is lost; run the notebook and save it"

def test_pages_have_title_and_description_and_an_address_of_their_own(pages):
    assert [o.path for o in pages.values() if not o.front.get("title") or not o.front.get("description")] == []
    targets = Counter(o.target for o in pages.values())
    assert [o for o, n in targets.items() if n > 1] == []

def test_no_cell_failed_and_no_directive_is_left(tree):
    for path in tree.rglob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            where = f"{path.name}, cell {cell.get('id')}"
            assert all(o["output_type"] != "error" for o in cell.get("outputs", [])), where
            if cell["cell_type"] != "code": continue
            lines = "".join(cell["source"]).splitlines()
            shown = [*dropwhile(lambda o: o.startswith("#|"), lines)]  # Quarto takes those at the top for options
            assert not any(o.lstrip().startswith("#|") for o in shown), where
            found = {o[2:].split(":")[0].strip() for o in lines[:len(lines) - len(shown)]}
            assert found <= CELL_OPTIONS, f"{where}: {found - CELL_OPTIONS}"

def silent(kind, source, outputs=()):
    "What of a cell's pictures says nothing to those who hear the page."
    texts = [source]*(kind == "markdown") + ["".join(o.get("data", {}).get("text/html", "")) for o in outputs]
    yield from (o for text in texts for o in re.findall(r"<img\b[^>]*>", text) if not re.search(r'\salt="[^"]', o))
    if kind == "markdown":
        tokens = [o for block in MarkdownIt().parse(source) for o in block.children or []]
        yield from (o.attrs["src"] for o in tokens if o.type == "image" and not o.content.strip())
    given = re.search(r"(?m)^#\| fig-alt: (.+)$", source)
    drawn = sum(any(o.startswith("image/") for o in output.get("data", {})) for output in outputs)
    if drawn > 1: yield f"{drawn} pictures in a cell, which has words for one"
    if drawn and len(given[1] if given else "") < 30: yield "wanted #| fig-alt: what the picture shows, in a sentence"
    if given and not drawn: yield "fig-alt, but no picture"
    if given and yaml.safe_load(given[1]) != given[1]: yield f"fig-alt: {given[1]} is YAML for something else"

def test_every_picture_is_put_in_words():
    found = [f"{path.name}, cell {o['id']}: {told}" for path in NOTEBOOKS for o in json.loads(path.read_text())["cells"]
             for told in silent(o["cell_type"], "".join(o["source"]), o.get("outputs", []))]
    assert not found, "\n".join(found)

def test_a_picture_without_words_is_found():
    picture, words = {"data": {"image/png": "…"}}, "#| fig-alt: Two curves, of which one falls later\nshow()"
    for good in (("code", words, [picture]), ("code", "show()"), ("markdown", "![A hand](a.png)"), ("markdown", '<img src="a.png" alt="A hand">')):
        assert not [*silent(*good)]
    for bad in (("code", "show()", [picture]), ("code", "#| fig-alt: A plot\nshow()", [picture]), ("code", words, [picture]*2), ("code", words),
                ("code", words.replace("Two", "Two: two"), [picture]), ("markdown", "![](a.png)"), ("markdown", '<img src="a.png" alt="">'),
                ("code", "show()", [{"data": {"text/html": ["<img src='a.png'>"]}}])):
        assert len([*silent(*bad)]) == 1, bad

def test_listing_names_every_public_name(pages):
    listed = "\n".join(pages["about/api.qmd"].markdown)
    for module in (ROOT/"signs_nbdev").glob("[!_]*.py"):
        names = re.search(r"(?s)__all__ = (\[.*?\])", module.read_text())[1]
        assert f"`signs_nbdev.{module.stem}`" in listed
        assert [o for o in ast.literal_eval(names) if f"`{o}`" not in listed] == [], module.name

def broken(page, pages, tree):
    "Each link of a page that leads nowhere, with the reason."
    by_target = {o.target: o for o in pages.values()}
    for link in page.links:
        path, _, anchor = unquote(link).partition("#")
        if path.startswith(REPO):
            place = re.sub(r"^/((blob|tree)/main/?)?", "", path.removeprefix(REPO))
            if place.split("/")[0] not in GITHUB and not (ROOT/place).exists(): yield link, "no such file in the repository"
            continue
        if path.startswith(SITE): name = path.removeprefix(SITE).removesuffix(".md") or "index.html"
        elif re.match(r"[a-z]+:", path):
            if not re.match(r"https://[\w-]+(\.[\w-]+)+(/|$)|data:image/", path): yield link, "no https address"
            continue
        else: name = normpath(join(dirname(page.path), path)) if path else page.path
        other = pages.get(name) or by_target.get(name)
        if name == DEMO: continue
        if not other:
            if name.startswith("..") or not (tree/name).is_file(): yield link, "no such page or file"
        elif anchor and anchor not in other.anchors: yield link, f"no such heading in {other.path}"

def test_no_link_is_broken(pages, tree):
    found = [f"{o.path}: {link}: {why}" for o in pages.values() for link, why in broken(o, pages, tree)]
    assert not found, "\n".join(found)

def test_code_in_a_link_is_no_link_itself(pages):
    "nbdev makes a link of each name in backticks, and Pandoc shows the outer brackets of a link around a link."
    found = [f"{o.path}: {link}" for o in pages.values() for text in o.markdown for link in re.findall(r"\[\[`[^]]+\]\([^)]+\)\]", text)]
    assert not found, "\n".join(found)

def test_name_leads_where_the_text_means(tree):
    """nbdev links a name in backticks to whichever room has it. Where the page neither is that room, nor imports from it,
    nor links to it in the same breath, the text says signs_nbdev.metrics.share, or "share" if another thing is meant."""
    pages = {o.stem: re.search(r"File to edit: \.\./nbs/(\S+)\.", o.read_text())[1] for o in (ROOT/"signs_nbdev").glob("[!_]*.py")}
    found = []
    for path in sorted(tree.rglob("*.ipynb")):
        code = cells_of(ROOT/"nbs"/path.relative_to(tree), "code")
        rooms = re.findall(r"(?:default_exp |signs_nbdev\.)(\w+)", code)
        for text in re.split(r"\n\s*\n|\n(?=\|)", cells_of(path, "markdown")):
            found += [f"{path.name}: `{name}` is linked to signs_nbdev.{room}"
                      for name, room in re.findall(rf"\[`([\w.]+)`\]\({SITE}(\w+)\.html#", text)
                      if room not in rooms and f"({pages[room]}" not in text and not name.startswith("signs_nbdev.")]
    assert not found, "\n".join(found)

@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_no_link_of_the_repository_is_broken(name):
    page = Page(name, {}, [(ROOT/name).read_text()])
    for link in page.links:
        path, _, anchor = link.partition("#")
        if path.startswith(REPO): path = re.sub(r"^/((blob|tree)/main/?)?", "", path.removeprefix(REPO))
        elif re.match(r"[a-z]+:", path): continue
        assert not path or path.split("/")[0] in GITHUB or (ROOT/path).exists(), link
        assert path or anchor in page.anchors, link

def test_checker_finds_what_is_broken(tmp_path):
    (tmp_path/"images").mkdir()
    (tmp_path/"images/there.png").touch()
    text = """## One `thing`: 2 of 3
    [a](b.qmd#one-thing-2-of-3) [b](#no) [c](gone.ipynb) ![d](images/there.png) ![e](images/gone.png) <img src="images/lost.png">
    [f](../README.md) [g](https://elsewhere.org/x) [k](http://elsewhere.org) [h](SITEb.html#lost) [i](REPO/blob/main/setup.py) [j](REPO/blob/main/gone.py)
    """.replace("    ", "").replace("SITE", SITE).replace("REPO", REPO)
    pages = {o: Page(o, {}, [text]) for o in ("a.qmd", "b.qmd")}
    assert [link for link, _ in broken(pages["a.qmd"], pages, tmp_path)] == [
        "#no", "gone.ipynb", "images/gone.png", "../README.md", "http://elsewhere.org", f"{SITE}b.html#lost", f"{REPO}/blob/main/gone.py",
        "images/lost.png"]

def test_citation_is_of_this_project():
    cited, project = yaml.safe_load((ROOT/"CITATION.cff").read_text()), tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    assert cited["version"] == re.search(r'__version__ = "(.+)"', (ROOT/"signs_nbdev/__init__.py").read_text())[1]
    assert (cited["title"], cited["license"], cited["abstract"]) == (project["name"], project["license"], project["description"])
    assert (cited["repository-code"], cited["url"]) == (project["urls"]["Repository"], project["urls"]["Documentation"])
    assert [o["name"] for o in cited["authors"]] == [o["name"] for o in project["authors"]]

MEANT = "blok,caf,contrst,docment,docments,fro,patern,pre-empted,rotat,widht"  # names, and mistakes that examples make on purpose

def test_spelling(tmp_path):
    tracked = run("git", "ls-files", cwd=ROOT).stdout.split("\n") if (ROOT/".git").exists() else []
    texts = [ROOT/o for o in tracked if o.endswith((".md", ".py", ".yml", ".yaml", ".js", ".html", ".css", ".ini", ".toml"))]
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text())["cells"]
        texts.append(tmp_path/f"{notebook.stem}.md")
        texts[-1].write_text("\n\n".join("".join(o["source"]) for o in cells))
    done = run(sys.executable, "-m", "codespell_lib", "--ignore-words-list", MEANT, *(o for o in texts if o.exists()))
    assert done.returncode == 0, done.stdout
