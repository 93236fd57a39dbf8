"""
How fast is it? ``python -m benchmarks``, or ``tox -e bench``. See docs/benchmarks.rst.
"""
