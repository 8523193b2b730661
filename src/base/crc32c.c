/* CRC-32C: by the processor's instruction where it has one, else by table; see crc32c.h. */
#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

enum { BLOCK = 512 }; /* octets of one of three streams */

static pthread_once_t tables_made = PTHREAD_ONCE_INIT;
static uint32_t table[256];
/* What BLOCK zero octets make of a checksum, by each of its four octets: the operation is linear. */
static uint32_t after_block[4][256];

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
        }
        table[i] = crc;
    }
    for (uint32_t octet = 0; octet < 4; octet++) {
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t crc = value << 8 * octet;
            for (int i = 0; i < BLOCK; i++) {
                crc = crc >> 8 ^ table[crc & 0xff];
            }
            after_block[octet][value] = crc;
        }
    }
}

static uint32_t by_table(uint32_t crc, const unsigned char *p, size_t len)
{
    while (len-- > 0) {
        crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
    }
    return crc;
}

#if defined(__x86_64__)
static uint32_t skip_block(uint32_t crc)
{
    return after_block[0][crc & 0xff] ^ after_block[1][crc >> 8 & 0xff] ^ after_block[2][crc >> 16 & 0xff] ^
           after_block[3][crc >> 24];
}

static uint64_t word_at(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

/* An instruction begins with every cycle but takes three: so three streams at a time, joined afterwards. */
__attribute__((target("sse4.2"))) static uint32_t three_blocks(uint32_t crc, const unsigned char *p)
{
    uint64_t a = crc;
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < BLOCK; i += 8) {
        a = _mm_crc32_u64(a, word_at(p + i));
        b = _mm_crc32_u64(b, word_at(p + BLOCK + i));
        c = _mm_crc32_u64(c, word_at(p + (size_t)2 * BLOCK + i));
    }
    return skip_block(skip_block((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const unsigned char *p,
                                                                 size_t len)
{
    for (; len >= (size_t)3 * BLOCK; len -= (size_t)3 * BLOCK, p += (size_t)3 * BLOCK) {
        crc = three_blocks(crc, p);
    }
    uint64_t wide = crc;
    for (; len >= 8; len -= 8, p += 8) {
        wide = _mm_crc32_u64(wide, word_at(p));
    }
    crc = (uint32_t)wide;
    for (; len > 0; len--, p++) {
        crc = _mm_crc32_u8(crc, *p);
    }
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    pthread_once(&tables_made, make_tables);
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~by_instruction(crc, data, len);
    }
#endif
    return ~by_table(crc, data, len);
}
