/* The allocator, with the switch that lets tests make it fail; see mem.h. */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Relaxed atomics: helper threads allocate too, and only sums matter. */
static atomic_uint_fast64_t made;
static atomic_uint_fast64_t fail_k;
static atomic_bool fail_once;
static atomic_int_fast64_t live;

static bool must_fail(void)
{
    uint64_t k = atomic_load_explicit(&fail_k, memory_order_relaxed);
    if (k == 0) {
        return false;
    }
    uint64_t n = atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) + 1;
    return atomic_load_explicit(&fail_once, memory_order_relaxed) ? n == k : n >= k;
}

static void count_live(int step)
{
    atomic_fetch_add_explicit(&live, step, memory_order_relaxed);
}

void *mem_alloc(size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    void *memory = malloc(size == 0 ? 1 : size);
    if (memory != NULL) {
        count_live(1);
    }
    return memory;
}

void *mem_zalloc(size_t count, size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    void *memory = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    if (memory != NULL) {
        count_live(1);
    }
    return memory;
}

void *mem_realloc(void *old, size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    void *memory = realloc(old, size == 0 ? 1 : size);
    if (memory != NULL && old == NULL) {
        count_live(1);
    }
    return memory;
}

void mem_free(void *memory)
{
    if (memory != NULL) {
        count_live(-1);
        free(memory);
    }
}

void mem_keep_freed(size_t octets, size_t largest)
{
    mallopt(M_TRIM_THRESHOLD, (int)octets);
    mallopt(M_MMAP_THRESHOLD, (int)largest);
}

void mem_fail_at(uint64_t k, int once)
{
    atomic_store(&made, 0);
    atomic_store(&fail_once, once != 0);
    /* Counting needs a k too: one that is never reached. */
    atomic_store(&fail_k, k);
}

uint64_t mem_count(void)
{
    return atomic_load(&made);
}

int64_t mem_live(void)
{
    return atomic_load(&live);
}
