"Feeds setuptools what pyproject.toml calls dynamic: needs and scripts from settings.ini, version, README."
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

here = Path(__file__).parent
settings = ConfigParser(delimiters=["="], interpolation=None)
settings.read_string((here/"settings.ini").read_text(encoding="utf-8"))
package, extras = settings["package"], settings["extras"]
lines = lambda text: text.strip().splitlines()
version = re.search(r'__version__ = "(.+)"', (here/"signs_nbdev/__init__.py").read_text(encoding="utf-8"))[1]
home = tomllib.loads((here/"pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]

def at_home(link):
    "On PyPI nothing lies beside the page: its pictures and links come from the repository, as it was at this version."
    return f"{link[0]}{home}/{'raw' if link[1] else 'blob'}/v{version}/"

setup(
    version=version,
    long_description=re.sub(r"(!?)\[[^]]*\]\((?=nbs/)", at_home, (here/"README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    install_requires=lines(package["requirements"]),
    extras_require={name: lines(needs) for name, needs in extras.items()},
    entry_points={"console_scripts": lines(package["console_scripts"]),
                  "nbdev": ["signs_nbdev = signs_nbdev._modidx:d"]},  # links from code to our pages
)
