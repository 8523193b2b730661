/* DEFLATE; see deflate.h. */
#include "base/deflate.h"

#include "base/mem.h"

#define ZLIB_CONST
#include <zlib.h>

#include <limits.h>

enum {
    LEVEL = 3,        /* about 100 MB/s; what follows gains little on mail */
    OUT_WINDOW = -13, /* 32 KiB of memory; negative: raw */
    OUT_MEMORY = 5,   /* 16 KiB more */
    IN_WINDOW = -15,  /* what any client may use */
    PIECE = 65536,
    ROOM = 16384
};

struct deflate {
    z_stream out;
    z_stream in;
};

static void *take_memory(void *context, unsigned count, unsigned size)
{
    (void)context;
    return mem_zalloc(count, size);
}

static void give_memory(void *context, void *memory)
{
    (void)context;
    mem_free(memory);
}

struct deflate *deflate_new(void)
{
    struct deflate *d = mem_new(struct deflate);
    if (d == NULL) {
        return NULL;
    }
    d->out.zalloc = d->in.zalloc = take_memory;
    d->out.zfree = d->in.zfree = give_memory;
    if (deflateInit2(&d->out, LEVEL, Z_DEFLATED, OUT_WINDOW, OUT_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK) {
        mem_free(d);
        return NULL;
    }
    if (inflateInit2(&d->in, IN_WINDOW) != Z_OK) {
        deflateEnd(&d->out);
        mem_free(d);
        return NULL;
    }
    return d;
}

void deflate_free(struct deflate *d)
{
    if (d != NULL) {
        deflateEnd(&d->out);
        inflateEnd(&d->in);
        mem_free(d);
    }
}

/* Until zlib has taken all of its input and, with a flush, has nothing left to say. */
static bool pump(struct deflate *d, int flush, struct buf *out)
{
    do {
        char *room = buf_reserve(out, ROOM);
        if (room == NULL) {
            return false;
        }
        d->out.next_out = (Bytef *)room;
        d->out.avail_out = ROOM;
        int result = deflate(&d->out, flush);
        if (result != Z_OK && result != Z_BUF_ERROR) {
            return false;
        }
        out->len += ROOM - d->out.avail_out;
    } while (d->out.avail_out == 0);
    return true;
}

bool deflate_append(struct deflate *d, struct str text, bool flush, struct buf *out)
{
    do {
        struct str piece = str_sub(text, 0, PIECE);
        text = str_from(text, piece.len);
        d->out.next_in = (const Bytef *)piece.data;
        d->out.avail_in = (uInt)piece.len;
        if (!pump(d, flush && text.len == 0 ? Z_SYNC_FLUSH : Z_NO_FLUSH, out)) {
            return false;
        }
    } while (text.len > 0);
    return true;
}

ssize_t deflate_expand(struct deflate *d, struct str *input, char *area, size_t room)
{
    size_t given = input->len < INT_MAX ? input->len : INT_MAX;
    d->in.next_in = (const Bytef *)input->data;
    d->in.avail_in = (uInt)given;
    d->in.next_out = (Bytef *)area;
    d->in.avail_out = (uInt)room;
    int result = inflate(&d->in, Z_SYNC_FLUSH);
    *input = str_from(*input, given - d->in.avail_in);
    size_t done = room - d->in.avail_out;
    if (result != Z_OK && result != Z_BUF_ERROR && done == 0) {
        return -1;
    }
    return (ssize_t)done;
}
