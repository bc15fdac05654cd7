"""
---
title: How to cite
description: This project in a list of references
repo-actions: [issue]
---
"""
import sys
sys.path.insert(0, ".ci")
from pages import citation
print(citation())
