"""Memory without a name (Linux): nobody else can open it, and it is gone when the last process is.

Prints:
[0.0, 1.7320508075688772, 2.449489742783178, 3.0]
"""

import os
from multiprocessing import Process

import sharedmmap


def work(m, number):
    m.write_float64_at(number**0.5, 8 * number)


if __name__ == "__main__":
    fd = os.memfd_create("results")
    os.truncate(fd, 8 * 10)
    with sharedmmap.File(fd) as m:
        os.close(fd)
        workers = [Process(target=work, args=(m, number)) for number in range(10)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(m.read_array_at("d", 0, 10).tolist()[::3])
