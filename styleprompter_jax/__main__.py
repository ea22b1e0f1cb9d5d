"""`python -m styleprompter_jax COMMAND`: the same as `styleprompter COMMAND`."""

import sys

from styleprompter_jax.cli import main

sys.exit(main())
