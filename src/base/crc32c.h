/* CRC-32C (Castagnoli), as in RFC 3720, appendix B.4. */
#ifndef VEREDUS_BASE_CRC32C_H
#define VEREDUS_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `data`, continuing from `crc` (0 at the beginning). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
