"""What runs in a vault run's sandbox. Standard library only; shipped as one file, ``run.pyz``.

``run.pyz boot`` is the first process: it takes the order over its socket, starts each step with the parameters as JSON
on descriptor 3, and hands back a result. The other words are the steps of the packaged formulas.
"""
