"""The counts of the benchmarks, and large pages of memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cases, claim_tables, claims, work
from styleprompter_jax import large_pages
from styleprompter_jax.app.compare import Comparison
from styleprompter_jax.app.entry import Entry
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.training.settings import check_settings

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_step_with_all_losses_is_made():
    assert cases.training("smart", 256, 2).flop == pytest.approx(480.4e9, rel=1e-3)


def test_useful_work_in_gflop():
    small, large = GeneratorConfig(256), GeneratorConfig(1024)
    smart = work.smart(SmartConfig(), large, SwinConfig())
    found = [
        work.encoder(SwinConfig()),
        work.generator(small),
        work.generator(large),
        work.generator(large) - work.generator(large, above=4),
        smart,
    ]
    # The maps up to 16 px: 3x3 convolutions of 512 channels at 4, 8 (twice), 16 px
    # (twice), of which those to twice the size count their inputs; and three to RGB.
    low = 18 * 512**2 * (16 + 16 + 64 + 64 + 256) + 6 * 512 * (16 + 64)
    expected = [13.9e9, 90e9, 149e9, low, 1.6e9]
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("name", "gflop"), [("e4e", 145), ("restyle", 73), ("restyle34", 45)]
)
def test_useful_work_of_convolutional_encoders(name, gflop):
    """As PyTorch's own counter finds it for the published code."""
    kind, channels, passes = cases.ENCODERS[name]
    encoder = PspConfig(kind, input_channels=channels, passes=passes)
    found = work.convolutional_encoder(encoder)
    assert found == pytest.approx(gflop * 1e9, rel=0.02)


@pytest.mark.parametrize(
    ("before", "is_anew"),
    [
        ("", True),
        # As a notebook, or another program, that runs ours in its own process.
        ("import types; sys.modules['IPython'] = types", False),
        ("sys.argv = ['styleprompter_jax/__main__.py', 'invert']", False),
    ],
)
def test_a_program_starts_anew_with_large_pages(before, is_anew):
    if "[madvise]" not in large_pages._SETTING.read_text():
        pytest.skip("this kernel does not wait to be asked for large pages")
    code = (
        f"import os, sys\n{before}\n"
        "from styleprompter_jax.large_pages import use_large_pages\n"
        "use_large_pages()\n"
        "print(os.environ.get('GLIBC_TUNABLES'), sys.argv[1:])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", code, "a b"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    if is_anew:
        assert done.stdout == "glibc.malloc.hugetlb=1 ['a b']\n"
    else:
        assert done.stdout.startswith("None")


def test_claims():
    """Every row can be asked for, and the table has paired differences."""
    for variant in claims.VARIANTS:
        config = claims.config_of(variant, steps=10, seed=1)
        check_settings(config)
        assert (config.total_steps, config.seed) == (10, 1)
        assert config.init_from == "avatars64"
    for rows in claims.QUESTIONS.values():
        for row in rows:
            assert Entry.parse(f"m{row.options}").name == "m"
            assert row.variant in {"", *claims.VARIANTS}
    psnr = np.random.default_rng(0).normal(30, 3, 50)
    budget = dict(parameters=7, images=80, processor_seconds=3.0)
    table = claim_tables.table_of(
        {
            "first": ([{"psnr": psnr}, {"psnr": psnr + 2}], 0.1, [budget] * 2),
            "second": ([{"psnr": psnr + 1}, {"psnr": psnr + 4}], 0.2, [budget] * 2),
            "W+": ([{"psnr": psnr - 1}], 0.3, None),
        }
    )
    assert "| second | 1.5 (1.5 to 1.5) [1, 2] |" in table
    assert "| W+ | -2 (-2 to -2) |" in table
    assert f"| {psnr.mean() + 1:.4g} (" in table and "| 7 | 80 | 3 |" in table
    assert "| | psnr (dB) | processor s an image | parameters |" in table
    assert "of each seed in brackets" in table
    alone = {name: ([{"psnr": psnr}], 0.1, None) for name in ("first", "second")}
    assert "brackets" not in claim_tables.table_of(alone)


def test_the_number_of_test_images(tmp_path, monkeypatch, capsys):
    """At least one; the table has the number of images that there were."""
    with pytest.raises(SystemExit):
        claims.main(["betas", "--count", "0"])
    assert "--count: '0' is not a whole number, 1 or more" in capsys.readouterr().err
    entries = [f"avatars64{row.options}" for row in claims.QUESTIONS["betas"]]
    values = {entry: {"mse": np.ones(3), "psnr": np.ones(3)} for entry in entries}
    rows = [{"title": one, "seconds": {"processor": 1.0}} for one in entries]
    found = Comparison({"models": rows}, values, tmp_path, tmp_path)
    monkeypatch.setattr(claims, "compare", lambda *args, **options: found)
    (tmp_path / "betas").mkdir()
    claims.answer("betas", 1, [0], 9000, tmp_path, "avatars")
    assert "betas: 3 test images of avatars" in capsys.readouterr().out


def test_edits_at_equal_psnr():
    """A curve that lies lower, and a straight line below a bent curve."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, 40)

    def curve(loss):
        return [
            [{"psnr": 20 + 10 * b + images, "flipped": 1 - b**2 - loss + 0 * images}]
            * 2
            for b in (0, 0.5, 1)
        ]

    table = claim_tables.at_equal_psnr(curve(0), curve(0.1)).splitlines()
    psnr = images.mean()
    assert table[4:] == [
        f"| {20 + 10 * b + psnr:.4g} | -0.1 (-0.1 to -0.1) [-0.1, -0.1] |"
        for b in (0, 0.5, 1)
    ]
    half = [curve(0)[0], curve(0)[2]]  # a straight line
    assert "| -0.25 (-0.25 to -0.25) [" in claim_tables.at_equal_psnr(curve(0), half)
