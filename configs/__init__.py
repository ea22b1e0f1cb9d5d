"""The configs of training, one file each.

`styleprompter_jax/configs` is a link to this folder, so an installed package has the
configs too. There, their package is `styleprompter_jax.configs`, and they import each
other by that name.
"""
