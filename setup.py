"Feeds setuptools what pyproject.toml declares dynamic: requirements, extras and scripts from settings.ini, the version from the package."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(here/"settings.ini", encoding="utf-8")
lines = lambda text: [o.strip() for o in text.splitlines() if o.strip()]

setup(
    version=re.search(r'__version__ = "(.+)"', (here/"signs_nbdev/__init__.py").read_text(encoding="utf-8"))[1],
    install_requires=lines(config["DEFAULT"]["requirements"]),
    extras_require={name: lines(value) for name, value in config["extras"].items() if name not in config.defaults()},
    entry_points={"console_scripts": lines(config["DEFAULT"]["console_scripts"])},
)
