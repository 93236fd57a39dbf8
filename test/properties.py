"""
How Hypothesis is used here: the same examples in every run, as much time as they take, and nothing kept.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# it writes tables of Unicode even without a database: not into the source tree, please
_HOME = TemporaryDirectory(prefix="hypothesis-")
set_hypothesis_home_dir(_HOME.name)

PROPERTY = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
