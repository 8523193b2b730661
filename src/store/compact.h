/*
 * Compaction: what lives of a mostly dead sealed segment is copied, octet by octet, behind other such copies in a segment of their
 * own (SEGMENT_COPIES), and the index is repointed; then nothing needs the old file any more and the caller removes it
 * (segment_remove), and after that its row. In small steps, each within a transaction of the store; a crash between them costs
 * nothing but the work: copies that no committed row speaks of are dead space.
 *
 *   if (compact_choose(index, &choice, &segment) == 1) {
 *       compact_begin(&compaction, segment, end);
 *       do {                                             (one turn each time the store is idle)
 *           begin transaction; compact_step(&compaction, &done); commit; compact_committed(&compaction)
 *       } while (!done);
 *   }
 *
 * Events are not copied: a segment with events that count is left alone until a snapshot has made them needless (snapshot.h).
 */
#ifndef VEREDUS_STORE_COMPACT_H
#define VEREDUS_STORE_COMPACT_H

#include "store/segment.h"

enum {
    COMPACT_STEP = 1 << 20, /* octets copied in a step */
    COMPACT_RECORDS = 1000, /* looked at in a step */
    COMPACT_ABANDONED_MAX = 8
};

/* What lies where in the octets of a step. */
struct compact_copy {
    struct ident id;
    uint32_t octets;
    uint32_t at; /* from where the step's octets begin */
};

struct compaction {
    struct index *index;
    struct segments *segments;
    uint32_t instance;
    uint64_t boot;
    uint64_t segment_size;
    /* Told of a new segment for copies before anything is written to it. May be NULL. */
    void (*made)(void *context, int64_t segment, int fd);
    void *context;
    /* What is copied from. 0: nothing is under way. */
    int64_t source;
    int64_t position;
    int64_t end;
    int64_t next_position; /* once the step under way is committed */
    bool damaged;          /* something that lives cannot be read: the segment stays */
    /* What is copied to. */
    int64_t target; /* 0: none yet */
    int fd;
    int64_t target_end; /* written up to here */
    bool target_is_new; /* its row has not been committed */
    int64_t abandoned
        [COMPACT_ABANDONED_MAX]; /* targets that nothing may be written to any more, not sealed yet */
    size_t abandoned_count;
    size_t sealed_count; /* of them, in the transaction under way */
    /* The step's octets. */
    struct buf out;
    struct compact_copy *copies;
    size_t count;
    /* A record larger than a step, copied in several. */
    bool large;
    int64_t large_done; /* octets of it that have been written */
    /* Copied from this source, and in the step under way. */
    uint64_t records;
    uint64_t octets;
    uint64_t step_records;
    uint64_t step_octets;
};

struct compact_choice {
    unsigned percent;   /* of a segment that lives: below this it is worth it */
    uint64_t live_most; /* octets that there is room to copy */
    /* Whether this segment may be taken. */
    bool (*may)(void *context, int64_t segment);
    void *context;
};

/* 0, or -1 without memory. */
int compact_init(struct compaction *compaction, struct index *index, struct segments *segments);
/* Lets go of the target, which the next start seals. */
void compact_free(struct compaction *compaction);

/* Whether a segment may have events that count: those of the store, as long as no snapshot has been taken since. */
bool compact_has_events(const struct segment_info *info, int64_t events_segment);
/* The counter `events_segment`. 0, or -1. */
int compact_events_segment(struct index *index, int64_t *events_segment);
/* Whether nothing of a segment is needed any more. */
bool compact_is_dead(const struct segment_info *info, int64_t events_segment);

/* 1 and the sealed segment with the smallest share that lives; 0 if none is worth it; -1 on error. */
int compact_choose(struct index *index, const struct compact_choice *choice, struct segment_info *segment);
void compact_begin(struct compaction *compaction, const struct segment_info *segment);
/*
 * Within a transaction. With *done nothing more is to be copied from the segment: its row says whether anything in it still lives.
 * 0: commit, then call compact_committed; -1: roll back, then call compact_undo, and the same step may be tried again.
 */
int compact_step(struct compaction *compaction, bool *done);
void compact_committed(struct compaction *compaction);
void compact_undo(struct compaction *compaction);

#endif
