"""Imports Grain without its warning on JAX before 0.11.

With these versions, Grain warns at each start that it cannot profile its worker
processes. We do not profile them.
"""

import logging

_logger = logging.getLogger("absl")


def _not_about_profiling(record: logging.LogRecord) -> bool:
    return "worker profiling" not in str(record.msg)


_logger.addFilter(_not_about_profiling)
import grain as grain  # noqa: E402

_logger.removeFilter(_not_about_profiling)
