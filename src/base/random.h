/* Randomness from the kernel, for ids, keys and jitter. Engines are given it by their caller. */
#ifndef VEREDUS_BASE_RANDOM_H
#define VEREDUS_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills `len` (at most 256) bytes; ends the process if the kernel has none, which cannot be. */
void random_bytes(void *out, size_t len);
uint64_t random_u64(void);

#endif
