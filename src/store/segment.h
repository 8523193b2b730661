/*
 * Segments of the log as the store and the reader see them: files "segments/NUMBER.log" below the store's directory, written
 * by one process only and never changed. A table keeps read descriptors open.
 */
#ifndef VEREDUS_STORE_SEGMENT_H
#define VEREDUS_STORE_SEGMENT_H

#include "base/io.h"
#include "store/index.h"
#include "store/record.h"

struct segment_info {
    int64_t id;
    int origin; /* enum role_kind of who writes it */
    uint32_t instance;
    uint64_t boot;
    int64_t applied; /* the index has everything up to here */
    bool sealed;
    int64_t live; /* octets of records that something needs */
};

enum { SEGMENT_OPEN_MAX = 64 };

struct segments {
    const struct io *io;
    int dir; /* of "segments" */
    struct {
        int64_t id;
        int fd;
        uint64_t used; /* for choosing which to close */
    } open[SEGMENT_OPEN_MAX];
    uint64_t clock;
};

/* Opens (and for the writer makes) the directory, relative to the current one. 0, or -1 with errno. */
int segments_init(struct segments *segments, const struct io *io, bool make);
void segments_close(struct segments *segments);

/*
 * Makes a new segment, its directory entry and its row in the index (within the caller's transaction). Returns an append-only
 * write descriptor, or -1.
 */
int segment_create(struct segments *segments, struct index *index, int origin, uint32_t instance, uint64_t boot,
                   int64_t *id);
/* A descriptor for reading, which stays the table's; -1 if there is no such segment. */
int segment_fd(struct segments *segments, int64_t id);
int segment_unlink(struct segments *segments, int64_t id);

int segment_get(struct index *index, int64_t id, struct segment_info *info);
/* Fills up to `max`; returns the number, or -1. */
int segment_list(struct index *index, struct segment_info *infos, int max);
int segment_set_applied(struct index *index, int64_t id, int64_t applied);
int segment_seal(struct index *index, int64_t id);
int segment_add_live(struct index *index, int64_t id, int64_t octets);

enum segment_read { SEGMENT_RECORD, SEGMENT_END, SEGMENT_TORN, SEGMENT_ERROR };

/*
 * Reads the header at `offset` and, into `payload`, envelope, trace and body, and checks both checksums. SEGMENT_END: nothing
 * is there; SEGMENT_TORN: what is there is no whole good record.
 */
enum segment_read segment_read_record(struct segments *segments, int64_t id, int64_t offset,
                                      struct record_header *header, struct buf *payload);
/* Reads exactly `len` octets at `offset`; false if that cannot be. */
bool segment_read_at(struct segments *segments, int64_t id, int64_t offset, void *data, size_t len);

#endif
