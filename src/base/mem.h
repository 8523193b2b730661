/*
 * The allocator that everything of ours uses.
 *
 * It never ends the process: a failed allocation returns NULL and the caller gives
 * up one session or answers 4xx. Tests make the k-th allocation fail (goal G4).
 */
#ifndef VEREDUS_BASE_MEM_H
#define VEREDUS_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* `size` bytes, not cleared; NULL if there is no memory. Freed with mem_free. */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
/* `count` * `size` zero bytes; NULL on overflow or if there is no memory. */
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
/* As realloc; on failure NULL, and `old` stays valid. */
void *mem_realloc(void *old, size_t size) __attribute__((warn_unused_result));
void mem_free(void *memory);

/* A new zeroed struct of the type; NULL if there is no memory. */
#define mem_new(type) ((type *)mem_zalloc(1, sizeof(type)))

/*
 * For roles that take and give back message bodies all the time: up to `octets` that have been freed stay with the
 * process, and only pieces larger than `largest` come from the system one by one. Else nearly every body costs page faults.
 */
void mem_keep_freed(size_t octets, size_t largest);

/*
 * For tests: the allocation number `k` from now (1 is the next) fails, once if `once`,
 * else it and all that follow. 0 switches it off.
 */
void mem_fail_at(uint64_t k, int once);
/* Allocations made since the last mem_fail_at. */
uint64_t mem_count(void);
/* Allocations not freed yet, of this whole process; a test compares it before and after. */
int64_t mem_live(void);

#endif
