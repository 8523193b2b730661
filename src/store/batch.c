/* Writing to the log in batches; see batch.h. */
#include "store/batch.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <limits.h>

enum { PREFIXES_MAX = 64 << 20, PARTS = 1020 };

struct batch *batch_new(void)
{
    struct batch *batch = mem_new(struct batch);
    if (batch != NULL) {
        batch->prefixes = buf_make(PREFIXES_MAX);
    }
    return batch;
}

void batch_free(struct batch *batch)
{
    if (batch != NULL) {
        buf_free(&batch->prefixes);
        mem_free(batch);
    }
}

void batch_clear(struct batch *batch)
{
    batch->count = 0;
    batch->octets = 0;
    if (batch->prefixes.cap > 1 << 20) {
        buf_free(&batch->prefixes);
    }
    buf_clear(&batch->prefixes);
}

bool batch_add(struct batch *batch, struct record_header *header, struct str summary, struct str envelope,
               struct str trace, struct str body, void *owner)
{
    if (batch->count == BATCH_RECORDS_MAX) {
        return false;
    }
    struct batch_item *item = &batch->items[batch->count];
    size_t at = batch->prefixes.len;
    if (!record_encode_header(header, summary, envelope, trace, body, item->header) ||
        !buf_append_str(&batch->prefixes, summary) || !buf_append_str(&batch->prefixes, envelope) ||
        !buf_append_str(&batch->prefixes, trace)) {
        buf_truncate(&batch->prefixes, at);
        batch->prefixes.failed = false;
        return false;
    }
    item->prefix_at = at;
    item->prefix_len = summary.len + envelope.len + trace.len;
    item->body = body;
    item->padding = header->total - RECORD_HEADER - item->prefix_len - body.len;
    item->owner = owner;
    batch->count++;
    item->at = batch->octets;
    batch->octets += header->total;
    return true;
}

/* The next parts to write, from part number *next on (four parts a record). */
static int gather(const struct batch *batch, size_t *next, struct iovec *parts)
{
    static char zeros[8];
    int count = 0;
    for (; *next < batch->count * 4 && count < PARTS; (*next)++) {
        const struct batch_item *item = &batch->items[*next / 4];
        struct iovec part = {0};
        switch (*next % 4) {
        case 0: part = (struct iovec){(void *)(uintptr_t)item->header, RECORD_HEADER}; break;
        case 1:
            if (item->prefix_len > 0) {
                part = (struct iovec){batch->prefixes.data + item->prefix_at, item->prefix_len};
            }
            break;
        case 2: part = (struct iovec){(void *)(uintptr_t)item->body.data, item->body.len}; break;
        default: part = (struct iovec){zeros, item->padding}; break;
        }
        if (part.iov_len > 0) {
            parts[count++] = part;
        }
    }
    return count;
}

static bool write_parts(const struct io *io, int fd, struct iovec *parts, int count, int *error)
{
    while (count > 0) {
        ssize_t n = io->writev(fd, parts, count);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            *error = n == 0 ? EIO : errno;
            return false;
        }
        size_t done = (size_t)n;
        while (count > 0 && done >= parts->iov_len) {
            done -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + done;
            parts->iov_len -= done;
        }
    }
    return true;
}

static enum batch_result result_of(int error)
{
    return error == ENOSPC || error == EDQUOT ? BATCH_NO_SPACE : BATCH_FAILED;
}

void batch_write(struct batch *batch, const struct io *io, int fd)
{
    struct iovec parts[PARTS];
    size_t next = 0;
    batch->result = BATCH_STORED;
    while (next < batch->count * 4) {
        int count = gather(batch, &next, parts);
        if (!write_parts(io, fd, parts, count, &batch->error)) {
            batch->result = result_of(batch->error);
            return;
        }
    }
    uint64_t begun = clock_monotonic_us();
    int flushed = io->fdatasync(fd);
    batch->flush_us = clock_monotonic_us() - begun;
    if (flushed != 0) {
        /* The kernel may have dropped the pages: a second flush could "succeed" over lost data. */
        batch->error = errno;
        batch->result = result_of(batch->error);
    }
}
