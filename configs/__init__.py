"""Runs, one file each.

`styleprompter_jax/configs` is a link to this folder, so that an installed package has
them too: there they are `styleprompter_jax.configs`, and import each other as that.
"""
