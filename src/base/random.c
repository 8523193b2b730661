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

uint64_t random_u64(void)
{
    uint64_t value = 0;
    random_bytes(&value, sizeof(value));
    return value;
}
