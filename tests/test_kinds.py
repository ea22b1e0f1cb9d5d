"""Images of all kinds, read within one level of 255 of their expected values.

This module computes the expected values in float64: with the curve of a profile or
chunk, its matrix, sRGB's own curve, and a white background.
"""

import io
import itertools

import numpy as np
import pytest
import tifffile
from icc import (
    ADOBE,
    D50,
    SRGB,
    SRGB_CURVE,
    chunk,
    gamma,
    icc_chunk,
    parametric,
    png,
    profile,
    table,
)
from PIL import Image, ImageCms

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.decode import decode_image

HEIGHT, WIDTH = 12, 40
# All levels from dark to light, another order of them, and a few in between.
X, Y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
PLACES = np.stack([X**2, (1 - X) * Y, 0.2 + 0.3 * Y, np.where(X < 0.6, 1, Y)], -1)


def stored(channels, depth):
    """Returns values (h, w, k) with `depth` bits; 2 channels are grey and alpha."""
    places = PLACES[..., [0, 3]] if channels == 2 else PLACES[..., :channels]
    return np.rint(places * (2**depth - 1)).astype(int)


def shown(values, depth, light=None, matrix=SRGB, seen=None):
    """Returns the expected values of an image, float64 (h, w, 3), 0 to 255.

    Args:
        values: (h, w, k), k as in `stored`.
        depth: their bits.
        light: the curve of a profile; None for sRGB's colours.
        matrix: of a profile, light to XYZ.
        seen: alpha, where it is not among the values.
    """
    values = values / (2**depth - 1)
    if values.shape[-1] in (2, 4):
        values, seen = values[..., :-1], values[..., -1]
    is_grey = values.shape[-1] == 1
    rgb = np.repeat(values, 3, -1) if is_grey else values
    if light is not None:
        rgb = light(rgb)
        if not is_grey:
            rgb = rgb @ (np.linalg.inv(SRGB) @ matrix).T
        rgb = encoded(rgb.clip(0, 1))
    seen = np.ones(rgb.shape[:2]) if seen is None else seen
    return 255 * (rgb * seen[..., None] + 1 - seen[..., None])


def encoded(light):
    """sRGB, 0 to 1, of light."""
    return np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )


def linear(values):
    return values


def power(exponent):
    return lambda values: values**exponent


P3 = np.array([[0.68, 0.265, 0.15, 0.3127], [0.32, 0.69, 0.06, 0.329]])
P3_XYZ = np.array(
    [[0.5151187, 0.2919778, 0.1571035], [0.2411892, 0.6922441, 0.0665668],
     [-0.0010505, 0.0418791, 0.7840713]]
)  # fmt: skip
CHRM = np.rint(P3.T[[3, 0, 1, 2]].ravel() * 1e5).astype(">u4").tobytes()


def srgb_light(values):
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def colour_cases(is_grey):
    """Returns chunks of a PNG, and their arguments for `shown`."""
    matrix, adobe = (None, None) if is_grey else (SRGB, ADOBE)
    quick = np.linspace(0, 1, 1024) ** 1.8
    p3 = dict(light=srgb_light, matrix=P3_XYZ)
    return {
        "plain": ([], {}),
        "srgb": ([icc_chunk(profile(SRGB_CURVE, matrix, "some name"))], {}),
        # Its name says sRGB, its curve does not.
        "linear": ([icc_chunk(profile(gamma(None), matrix))], dict(light=linear)),
        "adobe": (
            [icc_chunk(profile(gamma(563 / 256), adobe))],
            dict(light=power(563 / 256), matrix=ADOBE),
        ),
        "table": (
            [icc_chunk(profile(table(quick), matrix))],
            dict(light=power(1.8)),
        ),
        "parametric": (
            [icc_chunk(profile(parametric(0, 2.4), matrix))],
            dict(light=power(2.4)),
        ),
        "gAMA linear": ([chunk(b"gAMA", (100000).to_bytes(4))], dict(light=linear)),
        "gAMA usual": ([chunk(b"gAMA", (45455).to_bytes(4))], {}),
        "gAMA cHRM": (
            [chunk(b"gAMA", (45455).to_bytes(4)), chunk(b"cHRM", CHRM)],
            p3,
        ),
        "sRGB before gAMA": (
            [chunk(b"sRGB", b"\0"), chunk(b"gAMA", (100000).to_bytes(4))],
            {},
        ),
        "iCCP before gAMA": (
            [
                icc_chunk(profile(SRGB_CURVE, matrix)),
                chunk(b"gAMA", (100000).to_bytes(4)),
            ],
            {},
        ),
        "cICP P3": (
            [
                chunk(b"cICP", bytes([12, 13, 0, 1])),
                icc_chunk(profile(gamma(None), matrix)),
            ],
            p3,
        ),
        "cICP linear": ([chunk(b"cICP", bytes([1, 8, 0, 1]))], dict(light=linear)),
        # An unknown value: the other chunks count.
        "cICP PQ": (
            [
                chunk(b"cICP", bytes([9, 16, 0, 1])),
                icc_chunk(profile(gamma(None), matrix)),
            ],
            dict(light=linear),
        ),
    }


def png_kinds():
    for channels, depths in ((1, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (8, 16)),
                             (4, (8, 16))):  # fmt: skip
        for depth, (name, (chunks, means)) in itertools.product(
            depths, colour_cases(channels < 3).items()
        ):
            values = stored(channels, depth)
            title = f"png {channels}x{depth} {name}"
            yield title, png(values, depth, *chunks), shown(values, depth, **means)
            if channels in (1, 3) and name in ("plain", "linear"):
                key = values[5, 20]
                seen = (values != key).any(-1).astype(float)
                if depth in (2, 4, 8):  # bits beyond the depth do not count
                    key = key | 2**depth * 3
                trns = chunk(b"tRNS", key.astype(">u2").tobytes())
                expected = shown(values, depth, seen=seen, **means)
                yield f"{title} tRNS", png(values, depth, *chunks, trns), expected
    palette = np.random.default_rng(0).integers(0, 256, (256, 3))
    for depth in (1, 2, 4, 8):
        values = stored(1, depth)
        few = palette[: 2**depth]
        colours, alpha = few[values[..., 0]], np.linspace(0, 1, 2**depth)
        trns = chunk(b"tRNS", np.rint(alpha * 255).astype(np.uint8).tobytes())
        for name in ("plain", "linear"):
            chunks, means = colour_cases(False)[name]
            yield (
                f"png palette {depth} {name}",
                png(values, depth, *chunks, palette=few),
                shown(colours, 8, **means),
            )
            seen = np.rint(alpha * 255)[values[..., 0]] / 255
            yield (
                f"png palette {depth} {name} tRNS",
                png(values, depth, *chunks, trns, palette=few),
                shown(colours, 8, seen=seen, **means),
            )


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def tiff_kinds():
    u8, u16 = (stored(4, depth).astype(f"uint{depth}") for depth in (8, 16))
    for order, packed, means in itertools.product(
        "<>", (None, "zlib"), ({}, dict(light=linear))
    ):
        how = dict(byteorder=order, compression=packed)
        grey_how = how | (means and dict(iccprofile=profile(gamma(None))))
        how |= means and dict(iccprofile=profile(gamma(None), SRGB))
        title = f"tiff {order} {packed} {'linear' if means else 'plain'}"
        for depth, a in ((8, u8), (16, u16)):
            for black in (True, False):
                grey = a[..., 0]
                yield (
                    f"{title} grey {depth} {black}",
                    tiff(grey if black else grey.max() - grey, **grey_how,
                         photometric="minisblack" if black else "miniswhite"),
                    shown(grey[..., None].astype(int), depth, **means),
                )  # fmt: skip
            yield from grey_and_alpha(title, a[..., [0, 3]], depth, grey_how, means)
            yield (
                f"{title} rgb {depth}",
                tiff(a[..., :3], photometric="rgb", **how),
                shown(a[..., :3], depth, **means),
            )
            yield (
                f"{title} rgba {depth}",
                tiff(a, photometric="rgb", extrasamples=["unassalpha"], **how),
                shown(a, depth, **means),
            )
            if depth == 16 and packed and means:
                continue  # PIL gives 8 of the 16 bits, too few for a linear profile
            yield (
                f"{title} planes {depth}",
                tiff(np.moveaxis(a[..., :3], -1, 0).copy(), photometric="rgb",
                     planarconfig="separate", **how),
                shown(a[..., :3], depth, **means),
            )  # fmt: skip
    lab = stored(3, 8)
    lab[..., 0] = 60 + lab[..., 0] // 2
    lab[..., 1:] = lab[..., 1:] // 6 - 20
    file = tiff(lab.astype(np.int8).view(np.uint8), photometric="cielab")
    yield "tiff lab", file, of_lab(lab * [100 / 255, 1, 1])
    twelve = stored(1, 12)
    yield "tiff 12", twelve_bits(twelve), shown(twelve, 12)


def grey_and_alpha(title, values, depth, how, means):
    """Two values a pixel, the second of which a TIFF may mean in three ways."""
    grey, alpha = values[..., 0], values[..., 1]
    whole = grey.dtype.type(2**depth - 1)
    cases = {"unassalpha": (values, shown(values, depth, **means))}
    if depth == 16:  # of 8 bits these are PIL's own
        whites = np.stack([whole - grey, alpha], -1)
        cases["white is 0"] = whites, cases["unassalpha"][1]
        times = np.rint(grey * (alpha / whole)).astype(grey.dtype)
        # Nearly transparent pixels have an imprecise grey, which does not matter.
        cases["assocalpha"] = np.stack([times, alpha], -1), cases["unassalpha"][1]
        cases["unspecified"] = values, shown(values[..., :1].astype(int), 16, **means)
    for name, (pixels, expected) in cases.items():
        photometric = "miniswhite" if name == "white is 0" else "minisblack"
        extra = [name if photometric == "minisblack" else "unassalpha"]
        file = tiff(pixels, photometric=photometric, extrasamples=extra,
                    planarconfig="contig", **how)  # fmt: skip
        yield f"{title} grey and alpha {depth} {name}", file, expected


def of_lab(lab):
    """float64 (h, w, 3), 0 to 255, of L, a and b under D50."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 108 / 841) * D50
    return encoded((xyz @ np.linalg.inv(SRGB).T).clip(0, 1)) * 255


def twelve_bits(values):
    """A TIFF of (h, w, 1) in 12 bits each, by way of one of as many bytes."""
    rows = np.unpackbits(values[..., 0].astype(">u2").view(np.uint8), axis=1)
    rows = rows.reshape(HEIGHT, WIDTH, 16)[..., 4:].reshape(HEIGHT, -1)
    file = io.BytesIO(tiff(np.packbits(rows, axis=1), byteorder="<", metadata=None))
    with tifffile.TiffFile(file, mode="r+") as opened:
        tags = opened.pages[0].tags
        tags["ImageWidth"].overwrite(WIDTH)
        tags["BitsPerSample"].overwrite(12)
    return file.getvalue()


def saved(array, format, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format, **options)
    return file.getvalue()


def other_kinds():
    u8 = stored(4, 8).astype(np.uint8)
    rgb, grey = u8[..., :3].copy(), u8[..., 0].copy()
    icc = dict(icc_profile=profile(gamma(None), SRGB))
    means = dict(light=linear)
    yield "webp", saved(rgb, "WEBP", lossless=True), shown(rgb, 8)
    yield "webp icc", saved(rgb, "WEBP", lossless=True, **icc), shown(rgb, 8, **means)
    yield (
        "webp alpha icc",
        saved(u8, "WEBP", lossless=True, exact=True, **icc),
        shown(u8, 8, **means),
    )
    yield "bmp", saved(rgb, "BMP"), shown(rgb, 8)
    yield "gif", saved(grey, "GIF"), shown(grey[..., None], 8)
    # Blocks of one grey, which JPEG keeps.
    flat = np.kron(grey[::3, ::4], np.ones((8, 8), np.uint8))
    for mode, name in itertools.product(("L", "RGB"), ("grey", "colours", "srgb")):
        icc_for = {
            "grey": profile(gamma(None)),
            "colours": profile(gamma(None), SRGB),
            "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        }[name]
        array = flat if mode == "L" else np.dstack([flat] * 3)
        # A profile for grey is none for colours.
        means = {} if name == "srgb" or (mode, name) == ("RGB", "grey") else means
        yield (
            f"jpeg {mode} {name}",
            saved(array, "JPEG", quality=100, icc_profile=icc_for),
            shown(flat[..., None], 8, **means),
        )
        means = dict(light=linear)


KINDS = [*png_kinds(), *tiff_kinds(), *other_kinds()]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_all_kinds_within_a_level():
    assert len(KINDS) >= 240
    wrong = {}
    for name, content, expected in KINDS:
        pixels = decode_image(io.BytesIO(content), name)
        error = np.abs(pixels - expected).max()
        if not error <= 1.01:
            wrong[name] = error
    assert not wrong


@pytest.mark.parametrize(
    "options",
    [
        dict(subfiletype=1),  # as in most raw photographs
        dict(extratags=[(50706, 1, 4, b"\1\4\0\0", True)]),  # as in DNG
    ],
)
def test_previews_are_no_photographs(options):
    content = tiff(stored(3, 8).astype(np.uint8), photometric="rgb", **options)
    with pytest.raises(StylePrompterError, match="raw photograph"):
        decode_image(io.BytesIO(content), "photo.dng")


def test_canon_says_itself_that_it_is_raw():
    content = tiff(stored(3, 8).astype(np.uint8), photometric="rgb", byteorder="<")
    content = content[:8] + b"CR\2\0" + content[12:]
    with pytest.raises(StylePrompterError, match="cannot be read as an image"):
        decode_image(io.BytesIO(content), "photo.tif")


def test_mutated_pictures_are_read_or_refused():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        name, content, _ = KINDS[rng.integers(len(KINDS))]
        content = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(len(content))
            size = rng.integers(0, 5)
            content[place : place + size] = rng.bytes(rng.integers(0, 5))
        try:
            pixels = decode_image(io.BytesIO(content), name)
            assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
        except StylePrompterError as error:
            assert str(error).startswith(f"{name} cannot be read as an image")
            refused += 1
    assert 100 < refused < 300
