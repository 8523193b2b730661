/*
 * Writing to the log: many records, one writev, one fdatasync (DESIGN.md, "The hot path").
 *
 * A batch is filled by the loop and written by a helper thread; while that runs the loop fills the next one. The bodies are
 * not copied: they must stay where they are until the batch is done.
 */
#ifndef VEREDUS_STORE_BATCH_H
#define VEREDUS_STORE_BATCH_H

#include "base/buf.h"
#include "base/io.h"
#include "store/record.h"

enum { BATCH_RECORDS_MAX = 1024 };

struct batch_item {
    unsigned char header[RECORD_HEADER];
    size_t prefix_at; /* of summary, envelope and trace in the batch's area */
    size_t prefix_len;
    struct str body;
    size_t padding;
    uint64_t at; /* where the record begins, from the batch's beginning */
    void *owner; /* the caller's, to tell whose record it is */
};

enum batch_result { BATCH_STORED, BATCH_NO_SPACE, BATCH_FAILED };

struct batch {
    size_t count;
    uint64_t octets;
    struct buf prefixes;
    struct batch_item items[BATCH_RECORDS_MAX];
    enum batch_result result; /* of batch_write */
    int error;                /* errno of what failed */
    uint64_t flush_us;        /* how long its flush took, without the writing */
};

/* NULL without memory. */
struct batch *batch_new(void);
void batch_free(struct batch *batch);
/*
 * Adds a record; its summary (a section as record_encode_summary makes it, or empty), envelope and trace are copied. False if the
 * batch is full or there is no memory.
 */
bool batch_add(struct batch *batch, struct record_header *header, struct str summary, struct str envelope,
               struct str trace, struct str body, void *owner);
/*
 * Appends all of it to the segment and flushes it. For the helper thread: touches nothing but the batch and fd. After
 * anything but BATCH_STORED nothing more may be written to this segment: its tail may be torn.
 */
void batch_write(struct batch *batch, const struct io *io, int fd);
void batch_clear(struct batch *batch);

#endif
