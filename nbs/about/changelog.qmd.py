"""
---
title: Changes
description: What a user notices, newest first
repo-actions: [issue]
---
"""
import sys
sys.path.insert(0, ".ci")
from pages import top_page
print(top_page("CHANGELOG.md"))
