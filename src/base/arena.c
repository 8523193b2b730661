/* Scoped memory; see arena.h. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdalign.h>

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    size_t used;
    alignas(max_align_t) char bytes[];
};

enum { FIRST_CHUNK = 256, LARGEST_CHUNK = 16384 };

static struct arena_chunk *chunk_add(struct arena *a, size_t need)
{
    size_t size = a->chunks == NULL ? FIRST_CHUNK : a->chunks->size * 2;
    if (size > LARGEST_CHUNK) {
        size = LARGEST_CHUNK;
    }
    if (size < need) {
        size = need;
    }
    size_t left = a->limit > a->used ? a->limit - a->used : 0;
    if (left < sizeof(struct arena_chunk) + need) {
        return NULL;
    }
    if (size > left - sizeof(struct arena_chunk)) {
        size = left - sizeof(struct arena_chunk);
    }
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->next = a->chunks;
    chunk->size = size;
    chunk->used = 0;
    a->chunks = chunk;
    a->used += sizeof(*chunk) + size;
    return chunk;
}

void *arena_alloc(struct arena *a, size_t size)
{
    const size_t grain = alignof(max_align_t);
    if (size > SIZE_MAX - grain) {
        return NULL;
    }
    size = (size + grain - 1) & ~(grain - 1);
    struct arena_chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        chunk = chunk_add(a, size);
        if (chunk == NULL) {
            return NULL;
        }
    }
    void *piece = chunk->bytes + chunk->used;
    chunk->used += size;
    memset(piece, 0, size);
    return piece;
}

struct str arena_copy(struct arena *a, struct str s)
{
    if (s.len == SIZE_MAX) {
        return (struct str){.data = NULL, .len = 0};
    }
    char *copy = arena_alloc(a, s.len + 1);
    if (copy == NULL) {
        return (struct str){.data = NULL, .len = 0};
    }
    if (s.len > 0) {
        memcpy(copy, s.data, s.len);
    }
    return str_make(copy, s.len);
}

void arena_free(struct arena *a)
{
    while (a->chunks != NULL) {
        struct arena_chunk *next = a->chunks->next;
        mem_free(a->chunks);
        a->chunks = next;
    }
    a->used = 0;
}
