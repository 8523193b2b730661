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
    int origin; /* enum role_kind of who writes it, or SEGMENT_COPIES */
    uint32_t instance;
    uint64_t boot;
    int64_t applied; /* the index has everything up to here */
    bool sealed;
    int64_t live; /* octets of records that something needs */
};

/* SEGMENT_COPIES: the origin of segments that compaction writes; no role_kind has this number. */
enum { SEGMENT_OPEN_MAX = 64, SEGMENT_ROWS_MAX = 65536, SEGMENT_COPIES = 15 };

struct segments {
    const struct io *io;
    int dir; /* of "segments" */
    struct {
        int64_t id;
        int fd;
        uint64_t used; /* for choosing which to close */
    } open[SEGMENT_OPEN_MAX];
    uint64_t clock;
    struct payload_cache *cache; /* see payload.h */
};

/* Opens (and for the writer makes, with its name on stable storage) the directory, relative to the current one. 0, or -1. */
int segments_init(struct segments *segments, const struct io *io, bool make);
void segments_close(struct segments *segments);

/* Who writes a segment (enum role_kind): part of its number and so of its file's name, which only the store gives. */
static inline int segment_origin(int64_t id)
{
    return (int)(id & 15);
}

/*
 * Makes a new segment, its directory entry and its row in the index (within the caller's transaction). Returns an append-only
 * write descriptor, or -1.
 */
int segment_create(struct segments *segments, struct index *index, int origin, uint32_t instance,
                   uint64_t boot, int64_t *id);
/* A descriptor for reading, which stays the table's; -1 if there is no such segment. */
int segment_fd(struct segments *segments, int64_t id);
/* Without waiting until that is on stable storage: for a file that nothing speaks of. */
int segment_unlink(struct segments *segments, int64_t id);
/*
 * Removes the file for good: its row may then go, and must not before, or a file that came back after a loss of power would be
 * taken for mail that has not been applied. 0 also if there is no such file any more; 1: somebody walks through the segments
 * (verify), try again later; -1 on error.
 */
int segment_remove(struct segments *segments, int64_t id);
/* Closes the descriptors of files that have been removed, so that their room comes back. */
void segments_close_removed(struct segments *segments);

int segment_get(struct index *index, int64_t id, struct segment_info *info);
/* Fills up to `max`; returns the number, or -1. */
int segment_list(struct index *index, struct segment_info *infos, int max);
int segment_set_applied(struct index *index, int64_t id, int64_t applied);
int segment_seal(struct index *index, int64_t id);
/* Removes the row of a segment that nothing needs any more. */
int segment_forget(struct index *index, int64_t id);
int segment_add_live(struct index *index, int64_t id, int64_t octets);

enum segment_read { SEGMENT_RECORD, SEGMENT_END, SEGMENT_TORN, SEGMENT_ERROR, SEGMENT_DAMAGED };

/*
 * Reads the header at `offset` and, into `payload`, envelope, trace and body, and checks both checksums. SEGMENT_END: nothing
 * is there; SEGMENT_TORN: what is there is no whole record; SEGMENT_DAMAGED: the header is good and header->total octets are
 * there, but their checksum is wrong, so the next record can be found; SEGMENT_ERROR: errno says why, EIO that the disk is bad.
 */
enum segment_read segment_read_record(struct segments *segments, int64_t id, int64_t offset,
                                      struct record_header *header, struct buf *payload);
/*
 * The same for one record after another: reads many at once, so that small ones do not take calls each. `payload` points into the
 * window, which belongs to the caller, until the next call. What was read ahead is taken for good only where a whole record
 * with good checksums is; anything else is read again.
 */
struct segment_window {
    int64_t id;
    int64_t offset; /* of the first octet in `ahead` */
    struct buf ahead;
    struct buf large; /* a record that does not fit */
};
void segment_window_init(struct segment_window *window);
/* Forgets what was read ahead, and the memory of large records. */
void segment_window_reset(struct segment_window *window);
void segment_window_free(struct segment_window *window);
enum segment_read segment_read_next(struct segments *segments, struct segment_window *window, int64_t id,
                                    int64_t offset, struct record_header *header, struct str *payload);
/* Reads up to `len` octets at `offset`: how many there are, or -1. */
ssize_t segment_read_some(struct segments *segments, int64_t id, int64_t offset, void *data, size_t len);
/* Reads exactly `len` octets at `offset`; false if that cannot be. */
bool segment_read_at(struct segments *segments, int64_t id, int64_t offset, void *data, size_t len);

#endif
