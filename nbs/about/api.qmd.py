"""
---
title: All names
description: Every public name of every room, with one line on each
repo-actions: [issue]
---
"""
import sys
sys.path.insert(0, ".ci")
from pages import api
print(*api(), sep="\n")
