"Feeds setuptools what pyproject.toml calls dynamic: needs and scripts from settings.ini, the version from the package."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

here = Path(__file__).parent
settings = ConfigParser(delimiters=["="], interpolation=None)
settings.read_string((here/"settings.ini").read_text(encoding="utf-8"))
package, extras = settings["package"], settings["extras"]
lines = lambda text: text.strip().splitlines()

setup(
    version=re.search(r'__version__ = "(.+)"', (here/"signs_nbdev/__init__.py").read_text(encoding="utf-8"))[1],
    install_requires=lines(package["requirements"]),
    extras_require={name: lines(needs) for name, needs in extras.items()},
    entry_points={"console_scripts": lines(package["console_scripts"]),
                  "nbdev": ["signs_nbdev = signs_nbdev._modidx:d"]},  # links from code to our pages
)
