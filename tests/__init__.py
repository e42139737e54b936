"""The tests; said here is what has to hold before numpy and torch are imported."""

import os

# One thread here and in child processes: sums come out bit for bit alike, and threads of
# BLAS do not wait, spinning, on the processor that another worker of the suite needs.
os.environ["OMP_NUM_THREADS"] = "1"
