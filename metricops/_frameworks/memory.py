"""The memory of panels, which the C library is to keep from one to the next.

Each panel frees its arrays, and the next one takes as much. glibc returns what is free
at the end of its heap to the system, if it is more than twice the largest block that it
has returned before. Then every page of the next panel costs a fault: up to 160,000 in a
loss of 8,192 rows, a tenth of its time.
"""

import numpy as np

# Bytes. With a header, and in whole pages, it is below 32 MiB: glibc learns nothing of
# larger blocks.
_BLOCK = 2**25 - 2**16


def keep_freed() -> None:
    """Let glibc keep 64 MiB of freed memory; other libraries ignore it.

    A block that nothing is written to takes no memory.
    """
    np.empty(_BLOCK, dtype=np.uint8)
