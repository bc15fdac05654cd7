"""
---
title: Contributing
description: How a change is made, and what all of the code has in common
repo-actions: [issue]
---
"""
import sys
sys.path.insert(0, ".ci")
from pages import top_page
print(top_page("CONTRIBUTING.md"))
