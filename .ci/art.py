"""Draws the site's icon and the card that is shown where a page is shared: nbs/images/favicon.svg and social.png.
Both show this project's own hands. With --check nothing is written, and it fails if a file shows something else."""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from contourpy import contour_generator
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from signs_nbdev.hands import pose
from signs_nbdev.render import draw_hands, spell, studio
from signs_nbdev.sessions import draw_session

IMAGES = Path(__file__).parents[1]/"nbs/images"
GROUND, INK, PALE = "#0b7a6b", "#ffffff", "#c9ece4"
WIDTH, HEIGHT = 1200, 630  # what open graph readers expect


def outline(sign, size):
    "The rim of a drawn hand, `(n, 2)` corners x, y in [0, size]: within it a bright and a dark wall give the same picture."
    scene = studio(1, size)
    walls = [replace(scene, scale=scene.scale*1.2, background=torch.full_like(scene.background, o)) for o in (0., 1.)]
    dark, bright = (draw_hands(pose(sign)[None], o)[0].mean(0).numpy() for o in walls)
    return max(contour_generator(z=np.pad(1 - (bright - dark), 1)).lines(0.5), key=len) - 0.5

def icon(sign="V", size=128):
    corners = outline(sign, size)[::2]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}"><rect width="{size}" height="{size}" '
            f'rx="{size//4}" fill="{GROUND}"/><clipPath id="a"><rect width="{size}" height="{size}" rx="{size//4}"/></clipPath>'
            f'<path clip-path="url(#a)" fill="{INK}" d="{path}"/></svg>\n')

def card(text="SIGNSNBDEV"):
    edge = WIDTH//len(text)
    filmed = torch.cat([draw_session(2*i, 1, edge, 0, (o,)) for i, o in enumerate(text)])
    rows = spell(text, edge), filmed.mul(255).round().byte().permute(0, 2, 3, 1)  # (N, 3, S, S) -> (N, S, S, 3)
    hands = Image.fromarray(np.concatenate([np.concatenate(list(row.numpy()), 1) for row in rows]))
    picture = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    picture.paste(hands, (0, HEIGHT - hands.height))
    draw = ImageDraw.Draw(picture)
    for y, points, colour, words in ((70, 104, INK, "signs_nbdev"), (212, 40, PALE, "Reads signs from pictures,"),
                                     (268, 40, PALE, "and says honestly how well.")):
        weight = "-Bold" if points > 50 else ""
        font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{weight}.ttf", points)
        draw.text((70, y), words, colour, font)
    return picture

def differs(path, made):
    "Whether a file shows something else than what was made, but for rounding"
    if not path.exists(): return True
    if isinstance(made, str): return path.read_text() != made
    shown = np.asarray(Image.open(path)).astype(int)
    return shown.shape != np.shape(made) or np.abs(shown - np.asarray(made)).max() > 2

made = {"favicon.svg": icon(), "social.png": card()}
stale = [o for o, picture in made.items() if differs(IMAGES/o, picture)]
if "--check" in sys.argv: sys.exit(f"Not what .ci/art.py draws: {', '.join(stale)}. Run it." if stale else None)
for o in stale: (IMAGES/o).write_text(made[o]) if isinstance(made[o], str) else made[o].save(IMAGES/o, optimize=True)
