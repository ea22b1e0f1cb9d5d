"""Measures the cost of fresh memory pages, small and large, in a pass over 134 MB.

taskset -c 0 python -m benchmarks.pages
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 taskset -c 0 python -m benchmarks.pages
"""

import statistics
import time

import jax


def main():
    x = jax.numpy.ones((1, 1024, 1024, 32))
    add = jax.jit(lambda x: x + 1)
    seconds = []
    for _ in range(10):
        start = time.process_time()
        add(x).block_until_ready()
        seconds.append(time.process_time() - start)
    print(f"{1e3 * statistics.median(seconds):.0f} ms of the processor")


if __name__ == "__main__":
    main()
