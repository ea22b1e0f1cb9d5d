"""A small generator, and what it is tuned to: drawn from the names of all numbers.

For `torch_tuning` and for the test that is held to it.
"""

import zlib

import numpy as np

SIZE, CHANNELS, Z_DIM, W_DIM, LAYERS = 32, (8, 6, 5, 4), 7, 6, 2
IMAGES, RATES = 2, (1e-3, 5e-4)
LOCALITY = 0.1


def shapes():
    """By key the shapes of the generator's parameters, kernels (h, w, i, o)."""
    found, size, i = {}, 4, CHANNELS[0]
    for k in range(LAYERS):
        found |= {f"mapping/fc{k}/kernel": (W_DIM if k else Z_DIM, W_DIM)}
        found |= {f"mapping/fc{k}/bias": (W_DIM,)}
    found["synthesis/b4/const"] = (4, 4, i)
    for o in CHANNELS:
        convs = {"conv1": o} if size == 4 else {"conv0": i, "conv1": o}
        for name, width in {**convs, "torgb": o}.items():
            key, out = f"synthesis/b{size}/{name}", 3 if name == "torgb" else o
            side = 1 if name == "torgb" else 3
            found[f"{key}/affine/kernel"] = (W_DIM, width)
            found[f"{key}/affine/bias"] = (width,)
            found[f"{key}/kernel"] = (side, side, width, out)
            found[f"{key}/bias"] = (out,)
            if name != "torgb":
                found[f"{key}/noise_strength"] = ()
        size, i = 2 * size, o
    return found


def draw(key, *shape):
    """Numbers of float64 that the key decides."""
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)


def parameters():
    """Of the generator, by key."""
    found = {}
    for key, shape in shapes().items():
        scale = 1.0 if key.endswith("kernel") else 0.2
        scale *= 100 if key.startswith("mapping") else 1
        found[key] = scale * draw(key, *shape) + ("affine/bias" in key)
    return found


def noises():
    """By block and layer the stored noise (s, s)."""
    found = {"b4/conv1": draw("noise b4/conv1", 4, 4)}
    for k in range(1, len(CHANNELS)):
        size = 4 << k
        for layer in (f"b{size}/conv0", f"b{size}/conv1"):
            found[layer] = draw(f"noise {layer}", size, size)
    return found


def inputs():
    """Images (b, s, s, 3), codes (b, n, w_dim), mean code, and z of each step."""
    return {
        "images": np.tanh(draw("images", IMAGES, SIZE, SIZE, 3)),
        "w_plus": draw("w_plus", IMAGES, 2 * len(CHANNELS), W_DIM),
        "latent_avg": 0.1 * draw("latent_avg", W_DIM),
        "z": draw("z", len(RATES), IMAGES, Z_DIM),
    }


def summary(key, values):
    """Two numbers that stand for an array: they are those of no other one."""
    values = np.asarray(values)
    return np.array([np.sum(values), np.sum(values * draw(f"of {key}", *values.shape))])
