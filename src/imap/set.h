/*
 * Sets of message numbers (RFC 9051, section 9, "sequence-set"): UIDs or message sequence numbers as sorted ranges that neither
 * overlap nor touch. Bounded by IMAP_RANGES_MAX; work is n log n in the ranges of the text, never in the numbers they span.
 */
#ifndef VEREDUS_IMAP_SET_H
#define VEREDUS_IMAP_SET_H

#include "base/buf.h"

enum { IMAP_RANGES_MAX = 100000 };

struct imap_range {
    uint32_t first;
    uint32_t last; /* inclusive */
};

struct imap_set {
    struct imap_range *ranges;
    size_t count;
    size_t room;
};

enum imap_set_result { IMAP_SET_GOOD, IMAP_SET_MALFORMED, IMAP_SET_TOO_LONG, IMAP_SET_NO_MEMORY };

/* An empty set; allocates nothing. */
static inline struct imap_set imap_set_make(void)
{
    return (struct imap_set){.ranges = NULL, .count = 0, .room = 0};
}
void imap_set_free(struct imap_set *set);
void imap_set_clear(struct imap_set *set);
/*
 * Reads "2,4:7,9,12:*" into an empty set. `star` stands for "*", the largest number in use; 0: there is none, then ranges that
 * name "*" are left out (RFC 9051: "*" in an empty mailbox is nothing that exists).
 */
enum imap_set_result imap_set_parse(struct imap_set *set, struct str text, uint32_t star);
/* Whether the text is a sequence-set at all ("$" is not). */
bool imap_set_is_valid(struct str text);
/* Adds numbers at the end: `first` must be above all that is in the set, or touch its last range. False without memory or room. */
bool imap_set_append(struct imap_set *set, uint32_t first, uint32_t last);
bool imap_set_contains(const struct imap_set *set, uint32_t number);
/* The smallest member >= number; 0 if there is none. */
uint32_t imap_set_next(const struct imap_set *set, uint32_t number);
/* How many numbers are in it. */
uint64_t imap_set_size(const struct imap_set *set);
/* The largest; 0 if it is empty. */
uint32_t imap_set_max(const struct imap_set *set);
/* Appends its text, "1:3,7"; nothing for an empty one. */
bool imap_set_write(const struct imap_set *set, struct buf *out);
/* False without memory. */
bool imap_set_copy(struct imap_set *to, const struct imap_set *from);

/* The packed form between processes: 32 bits first, 32 bits last, little-endian, for each range. */
enum { IMAP_SET_RANGE_SIZE = 8 };
bool imap_set_pack(const struct imap_set *set, struct buf *out);

#endif
