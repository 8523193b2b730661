/* Randomness from the kernel; see random.h. */
#include "base/random.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *out, size_t len)
{
    for (int tries = 0; tries < 100; tries++) {
        /* Up to 256 bytes getrandom is never cut short once the kernel has been seeded. */
        if (getrandom(out, len, 0) == (ssize_t)len) {
            return;
        }
        if (errno != EINTR) {
            break;
        }
    }
    log_error("getrandom failed: nothing can be made that must not be guessed; ending this process");
    abort();
}

/* A call of the system gives as many numbers as it gives at once; each is wiped when it is handed out. */
uint64_t random_u64(void)
{
    static _Thread_local uint64_t numbers[32];
    static _Thread_local size_t left;
    if (left == 0) {
        random_bytes(numbers, sizeof(numbers));
        left = sizeof(numbers) / sizeof(numbers[0]);
    }
    uint64_t value = numbers[--left];
    numbers[left] = 0;
    return value;
}
