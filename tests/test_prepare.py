"What 01a_prepare promises, over many sizes, modes and broken files."
import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from signs_nbdev.core import ConfigError, DataError
from signs_nbdev.pictures import open_image, to_pixels
from signs_nbdev.prepare import (CHOICES, ScanRules, fit_longest, otsu_level, photo_to_square, prepare,
                                 resample, resize_weights, scan_to_glyph)

SIZES = [(1, 1), (1, 2), (1, 400), (400, 1), (2, 3), (3, 900), (27, 28), (28, 28), (29, 28), (40, 69), (172, 115),
         (100, 100)]
KERNELS = ("bilinear", "bicubic", "lanczos")


def noise(height, width, channels=1, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8))

def sign(height, width):
    "Bright strokes on dark, of 8 bits"
    pixels = torch.full((height, width, 1), 30, dtype=torch.uint8)
    pixels[height//4:height//4 + max(height//8, 1), width//8:] = 220
    return pixels

def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()

def pillow_resize(pixels, height, width, kernel):
    "Pillow's resize, rows first whatever the version"
    image, kernel = Image.fromarray(pixels), Image.Resampling[kernel.upper()]
    return np.asarray(image.resize((width, image.height), kernel).resize((width, height), kernel), np.int64)

def pillow_scan(pixels, size, rules=ScanRules()):
    "The conversion as a script would write it"
    grey = np.asarray(Image.fromarray(pixels.expand(-1, -1, 3).numpy()).convert("L"))
    counts = np.bincount(grey.ravel(), minlength=256)
    n, s = np.cumsum(counts), np.cumsum(counts*np.arange(256))
    with np.errstate(all="ignore"): apart = np.nan_to_num((n[-1]*s - n*s[-1])**2/(n*(n[-1] - n)).astype(float))
    if 2*(grey > apart.argmax()).sum() > grey.size: grey = 255 - grey
    height, width = (max(1, round(o*size/max(grey.shape))) for o in grey.shape)
    square, top, left = np.zeros((size, size), np.int64), (size - height)//2, (size - width)//2
    resized = pillow_resize(grey, height, width, rules.interpolation)
    square[top:top + height, left:left + width] = resized
    return square[..., None]

@pytest.mark.parametrize("size", (28, 64))
@pytest.mark.parametrize("kernel", KERNELS)
def test_resampling_is_pillow_s_within_one_level(kernel, size):
    rng = np.random.default_rng(size)
    for seed in range(60):
        h, w = rng.integers(1, 250, 2).tolist()
        x, (height, width) = noise(h, w, seed=seed), (int(fit_longest(o, max(h, w), size)) for o in (h, w))
        rows, columns = resize_weights(h, h, height, height, kernel), resize_weights(w, w, width, width, kernel)
        gap = resample(x[..., 0], rows, columns).numpy() - pillow_resize(x[..., 0].numpy(), height, width, kernel)
        assert np.abs(gap).max() <= 1, (h, w, height, width)

@pytest.mark.parametrize("kernel", ("box", "nearest"))
def test_box_and_nearest_are_pillow_s_where_no_pixel_lies_on_an_edge(kernel):
    for a, b in ((31, 7), (29, 14), (64, 16), (17, 40), (100, 28), (7, 9), (53, 53)):
        x, weights = noise(a, a, seed=a), resize_weights(a, a, b, b, kernel)
        gap = np.abs(resample(x[..., 0], weights, weights).numpy() - pillow_resize(x[..., 0].numpy(), b, b, kernel))
        assert gap.max() <= 1, (a, b)

def test_scans_are_the_plain_script_s_within_one_level():
    for seed in range(60):
        h, w = np.random.default_rng(seed).integers(2, 250, 2).tolist()
        x = (noise(h, w, 3 if seed % 3 else 1, seed)//3 + sign(h, w)//2)
        if seed % 2: x = 255 - x
        glyph = scan_to_glyph(x, 28, ScanRules(negation="otsu"))
        assert np.abs(glyph.numpy() - pillow_scan(x, 28)).max() <= 1, (h, w, seed)

@pytest.mark.parametrize("rounding, python", (("half_even", round), ("half_up", lambda x: int(x + 0.5)), ("floor", int),
                                              ("ceil", lambda x: -int(-x//1))))
def test_sizes_are_rounded_exactly(rounding, python):
    for length in range(1, 240):
        for longest in range(length, 240, 7):
            assert fit_longest(length, longest, 28, rounding) == max(1, python(length*28/longest))

@pytest.mark.parametrize("size", (1, 2, 28, 31))
@pytest.mark.parametrize("height, width", SIZES)
def test_shape_range_and_ground(height, width, size):
    for channels in (1, 3):
        x = noise(height, width, channels)
        glyph = scan_to_glyph(x, size)
        assert glyph.shape == (size, size, 1) and glyph.dtype == torch.uint8
        for made in (photo_to_square(x, size, 1), photo_to_square(x, size, 3)):
            assert made.shape[:2] == (size, size) and made.dtype == torch.uint8
    for rules in (ScanRules(interpolation=k, rounding=r, odd_pad=o) for k in CHOICES["interpolation"]
                  for r in CHOICES["rounding"] for o in CHOICES["odd_pad"]):
        one = scan_to_glyph(torch.full((height, width, 1), 90, dtype=torch.uint8), size, rules)
        new = [int(fit_longest(o, max(height, width), size, rules.rounding)) for o in (height, width)]
        assert one.unique().tolist() in ([90], [0, 90])  # no NaN, no dark rim
        assert int((one == 90).sum()) == new[0]*new[1]

@pytest.mark.parametrize("height, width", [o for o in SIZES if min(o) > 3])
def test_every_polarity_gives_bright_on_dark(height, width):
    x = sign(height, width)
    for negation in ("otsu", "border"):
        rules = ScanRules(negation=negation)
        assert torch.equal(scan_to_glyph(x, 28, rules), scan_to_glyph(255 - x, 28, rules))
        assert torch.equal(scan_to_glyph(x, 28, rules), scan_to_glyph(x, 28, ScanRules(negation="never")))
    assert torch.equal(scan_to_glyph(255 - x, 28, ScanRules(negation="always")), scan_to_glyph(x))

def test_a_tie_is_left_as_it_is():
    half = torch.tensor([[[0], [255]]], dtype=torch.uint8).repeat(28, 14, 1)
    assert torch.equal(scan_to_glyph(half), half) and torch.equal(scan_to_glyph(255 - half), 255 - half)

@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("axis", (0, 1))
@pytest.mark.parametrize("height, width", SIZES)
def test_a_mirrored_scan_gives_the_mirrored_glyph(height, width, axis, kernel):
    x = noise(height, width)
    far, near = (ScanRules(interpolation=kernel, odd_pad=o) for o in ("far", "near"))
    lone = [int(fit_longest(o, max(height, width), 28)) for o in (height, width)]
    other = near if (28 - lone[axis]) % 2 else far  # the odd pixel changes sides
    gap = scan_to_glyph(x.flip(axis), 28, far).int() - scan_to_glyph(x, 28, other).flip(axis).int()
    assert gap.abs().max() <= 1

def test_what_is_prepared_stays_as_it_is():
    square = photo_to_square(noise(90, 70, 3), 48)
    assert torch.equal(photo_to_square(square, 48), square)
    glyph = scan_to_glyph(sign(60, 60))
    assert torch.equal(scan_to_glyph(glyph), glyph)

def test_otsu_finds_the_best_of_all_levels():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = torch.from_numpy(rng.integers(0, rng.integers(2, 257), rng.integers(1, 30, 2))).float()
        if x.min() == x.max(): continue
        def apart(t):
            dark, bright = x[x <= t].double(), x[x > t].double()
            return len(dark)*len(bright)*(bright.mean() - dark.mean()).item()**2
        best = max(apart(t) for t in range(int(x.min()), int(x.max())))
        assert apart(otsu_level(x)) == pytest.approx(best)

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "I;16B", "F")

@pytest.mark.parametrize("kind, channels", (("scan", 1), ("photo", 1), ("photo", 3)))
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read(mode, kind, channels):
    for size in ((1, 1), (1, 40), (30, 20)):
        made = prepare(Image.new(mode, size), kind, 28, channels)
        assert made.shape == (28, 28, channels) and made.dtype == np.uint8

def test_what_pillow_cannot_convert_is_refused():
    with pytest.raises(DataError, match="scan 7 cannot be read as pixels"):
        prepare(Image.new("La", (9, 9)), "scan", 28, 1, name="scan 7")

def test_one_grey_picture_in_every_mode_gives_one_result():
    grey = Image.fromarray(noise(40, 30).squeeze(-1).numpy())
    high = np.asarray(grey).astype(np.uint16)*257
    deep = Image.fromarray(high.astype(np.int32))
    floating = Image.fromarray(np.asarray(grey, np.float32))
    same = [*(grey.convert(o) for o in ("RGB", "LA", "RGBA", "P")), Image.fromarray(high), deep, floating]
    for o in same:
        for kind, channels in (("scan", 1), ("photo", 3)):
            assert np.array_equal(prepare(o, kind, 28, channels), prepare(grey, kind, 28, channels)), o.mode

def test_not_a_number_is_black():
    floating = Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 7.]], np.float32))
    assert to_pixels(floating).flatten().tolist() == [0, 255, 0, 7]

@pytest.mark.parametrize("format", ("PNG", "GIF", "WEBP"))
@pytest.mark.parametrize("ink, ground", ((0, 255), (255, 0)))
def test_transparent_ground_is_what_the_ink_is_not(format, ink, ground):
    image = Image.new("LA", (40, 40), (ink, 0))
    image.paste((ink, 255), (10, 10, 30, 16))
    pixels = encoded(image.convert("RGBA"), format, **({"lossless": True} if format == "WEBP" else {}))
    glyph = prepare(pixels, "scan", 40, 1)[..., 0]
    assert (glyph[10:16, 10:30] == 255).all() and glyph[:9].max() == 0

def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.paste(1, (2, 2, 6, 6))
    image.save(tmp_path/"p.png", transparency=0)
    made = to_pixels(open_image(tmp_path/"p.png"))
    assert made[0, 0].tolist() == [0, 0, 0] and made[3, 3].tolist() == [200, 0, 0]

@pytest.mark.parametrize("format", ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"))
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then refuses
def test_damaged_files_are_named_or_read_but_never_crash(format):
    whole, rng, refused = encoded(Image.fromarray(noise(30, 40, 3).numpy()), format), np.random.default_rng(0), 0
    for turn in range(120):
        broken = bytearray(whole[:rng.integers(len(whole))] if turn % 2 else whole)
        for i in rng.integers(0, max(min(len(broken), 200), 1), 4*(turn % 3)):
            if broken: broken[i] = rng.integers(256)
        try: prepare(bytes(broken), "scan", 28, 1, name="scan 7")
        except DataError as e:
            refused += 1
            assert str(e).startswith("scan 7 ")
    assert refused > 50

def test_absent_empty_and_foreign_files_are_named(tmp_path):
    (tmp_path/"empty.png").touch()
    (tmp_path/"page.jpg").write_text("<html>404</html>")
    (tmp_path/"folder.png").mkdir()
    for name in ("absent.png", "empty.png", "page.jpg", "folder.png"):
        with pytest.raises(DataError, match=name): prepare(tmp_path/name)
    with pytest.raises(DataError, match="the picture is not a readable picture"): prepare(b"")
    with pytest.raises(DataError, match="upload 3"): prepare(b"", name="upload 3")

def test_a_photo_is_turned_upright():
    image, exif = Image.fromarray(noise(40, 60, 3).numpy()), Image.Exif()
    for orientation, turn in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)):
        exif[0x0112] = orientation
        upright = image.transpose(turn)
        assert np.array_equal(prepare(encoded(image, "PNG", exif=exif)), prepare(upright))

@pytest.mark.parametrize("wrong, message", (
    (dict(kind="scans"), "Did you mean 'scan'"), (dict(channels=3), "a scan has one channel"),
    (dict(negation="Otsu"), "unknown negation 'Otsu'.*Did you mean 'otsu'"), (dict(rounding=2), "unknown rounding 2"),
    (dict(negate="otsu"), "unknown rule for a scan 'negate'.*Did you mean 'negation'"), (dict(size=0), "size: got 0"),
    (dict(size=2.5), "size: got 2.5"), (dict(size=True), "size: got True")))
def test_wrong_parameters_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        prepare(Image.new("L", (9, 9)), **dict(kind="scan", size=28, channels=1) | wrong)

def test_negatives_of_files_in_colour():
    "Brightness is rounded once more in colour, so one level may differ"
    image = Image.fromarray((noise(60, 50, 3)//4 + 150).numpy())
    image.paste((60, 20, 20), (20, 10, 28, 50))
    gap = prepare(image, "scan", 28, 1).astype(int) - prepare(ImageOps.invert(image), "scan", 28, 1)
    assert np.abs(gap).max() <= 1
