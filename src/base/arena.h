/*
 * Memory that belongs to a scope (a session, a transaction, a command) and goes with it.
 *
 * Single pieces are never freed. An arena has a byte limit: reaching it is an allocation
 * that fails, so no input can make a scope grow without bound.
 */
#ifndef VEREDUS_BASE_ARENA_H
#define VEREDUS_BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used;  /* bytes handed out, with the chunks' overhead */
    size_t limit; /* bytes */
};

/* An empty arena; allocates nothing yet. */
static inline struct arena arena_make(size_t limit)
{
    return (struct arena){.chunks = NULL, .used = 0, .limit = limit};
}
/* `size` zeroed bytes, aligned for any type; NULL at the limit or without memory. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((warn_unused_result));
#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))
/* A copy of s with a NUL behind it; .data is NULL on failure. */
struct str arena_copy(struct arena *a, struct str s);
/* Frees everything; the arena can be used again. */
void arena_free(struct arena *a);

#endif
