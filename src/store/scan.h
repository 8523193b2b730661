/*
 * Walking through a segment from its beginning, and past what is damaged in it: for verify and reindex, which must not stop
 * where applying has to.
 *
 * Behind a header that cannot be read the next record is searched for at every eighth octet. What is found so is marked as not
 * certain: it may be an imitation of a record within somebody's mail.
 */
#ifndef VEREDUS_STORE_SCAN_H
#define VEREDUS_STORE_SCAN_H

#include "store/segment.h"

enum scan_state {
    SCAN_RECORD,  /* whole and good */
    SCAN_DAMAGED, /* the header is good, the checksum of the rest or the padding is wrong */
    SCAN_LOST,    /* octets that are no record, with a record behind them */
    SCAN_TORN,    /* the same, with nothing behind them */
    SCAN_END,
    SCAN_ERROR /* the file cannot be read */
};

struct scan {
    struct segments *segments;
    int64_t segment;
    int64_t at;
    int64_t end;
    int64_t budget; /* octets that the search for the next record may still check */
    bool certain;   /* no damaged header so far */
    struct buf *payload;
};

struct scan_item {
    int64_t offset;
    int64_t octets;
    struct record_header header; /* with SCAN_RECORD and SCAN_DAMAGED */
    bool certain;
    bool summary_damaged; /* with SCAN_RECORD: it is whole and good but for its summary */
};

/*
 * From the segment's beginning to `end` or the end of the file. `payload` is the caller's, and has the payload of each SCAN_RECORD
 * until the next one. False if there is no such file.
 */
bool scan_begin(struct scan *scan, struct segments *segments, int64_t segment, int64_t end,
                struct buf *payload);
enum scan_state scan_next(struct scan *scan, struct scan_item *item);

/* Calls `each` with the numbers of the segment files there are, in order. 0, or -1 if the directory cannot be read. */
int scan_files(struct segments *segments, int (*each)(void *context, int64_t segment), void *context);

#endif
