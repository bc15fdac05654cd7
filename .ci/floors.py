"Prints the floors of settings.ini as constraints: make VERSIONS=lowest installs these, none newer."
import re
from configparser import ConfigParser
from pathlib import Path

settings = ConfigParser(delimiters=["="], interpolation=None)
settings.read(Path(__file__).parents[1]/"settings.ini")
for line in "".join([settings["package"]["requirements"], *settings["extras"].values()]).split():
    if not line.startswith("signs_nbdev["): print(re.sub(r">=([\d.]+).*", r"==\1", line))
