/* Sets of message numbers; see set.h. */
#include "imap/set.h"

#include "base/mem.h"

#include <stdlib.h>

void imap_set_free(struct imap_set *set)
{
    mem_free(set->ranges);
    *set = imap_set_make();
}

void imap_set_clear(struct imap_set *set)
{
    set->count = 0;
}

static bool make_room(struct imap_set *set, size_t more)
{
    if (set->count + more <= set->room) {
        return true;
    }
    size_t room = set->room == 0 ? 8 : set->room * 2;
    if (room < set->count + more) {
        room = set->count + more;
    }
    struct imap_range *ranges = mem_realloc(set->ranges, room * sizeof(*ranges));
    if (ranges == NULL) {
        return false;
    }
    set->ranges = ranges;
    set->room = room;
    return true;
}

bool imap_set_append(struct imap_set *set, uint32_t first, uint32_t last)
{
    struct imap_range *end = set->count == 0 ? NULL : &set->ranges[set->count - 1];
    if (end != NULL && first <= end->last + 1 && end->last != UINT32_MAX) {
        end->last = last > end->last ? last : end->last;
        return true;
    }
    if (set->count >= IMAP_RANGES_MAX || !make_room(set, 1) || set->ranges == NULL) {
        return false;
    }
    set->ranges[set->count++] = (struct imap_range){first, last};
    return true;
}

/* A number without leading zero, or "*". */
static bool parse_number(struct str text, uint32_t star, uint32_t *number, bool *is_star)
{
    uint64_t value;
    *is_star = text.len == 1 && text.data[0] == '*';
    if (*is_star) {
        *number = star;
        return true;
    }
    if (text.len == 0 || text.data[0] == '0' || !str_to_u64(text, UINT32_MAX, &value)) {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

/* `empty`: the range names "*" and there is no largest number. */
static bool parse_range(struct str text, uint32_t star, struct imap_range *range, bool *empty)
{
    size_t colon = str_find(text, 0, ':');
    bool first_star;
    bool last_star = false;
    if (!parse_number(str_sub(text, 0, colon), star, &range->first, &first_star)) {
        return false;
    }
    range->last = range->first;
    if (colon != SIZE_MAX && !parse_number(str_from(text, colon + 1), star, &range->last, &last_star)) {
        return false;
    }
    *empty = (first_star || last_star) && star == 0;
    if (range->first > range->last) {
        uint32_t swap = range->first;
        range->first = range->last;
        range->last = swap;
    }
    return true;
}

bool imap_set_is_valid(struct str text)
{
    struct str part;
    struct imap_range range;
    bool empty;
    while (str_split(&text, ',', &part)) {
        if (!parse_range(part, 1, &range, &empty)) {
            return false;
        }
    }
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct imap_range *left = a;
    const struct imap_range *right = b;
    return left->first < right->first ? -1 : left->first > right->first;
}

/* Sorts, and makes one range of those that overlap or touch. */
static void normalise(struct imap_set *set)
{
    size_t kept = 0;
    bool sorted = true;
    for (size_t i = 1; i < set->count && sorted; i++) {
        sorted = set->ranges[i - 1].first <= set->ranges[i].first;
    }
    if (!sorted) {
        qsort(set->ranges, set->count, sizeof(*set->ranges), compare_ranges);
    }
    for (size_t i = 0; i < set->count; i++) {
        struct imap_range range = set->ranges[i];
        if (kept > 0 &&
            (set->ranges[kept - 1].last == UINT32_MAX || range.first <= set->ranges[kept - 1].last + 1)) {
            if (range.last > set->ranges[kept - 1].last) {
                set->ranges[kept - 1].last = range.last;
            }
        } else {
            set->ranges[kept++] = range;
        }
    }
    set->count = kept;
}

enum imap_set_result imap_set_parse(struct imap_set *set, struct str text, uint32_t star)
{
    struct str part;
    imap_set_clear(set);
    if (text.len == 0) {
        return IMAP_SET_MALFORMED;
    }
    while (str_split(&text, ',', &part)) {
        struct imap_range range;
        bool empty;
        if (!parse_range(part, star, &range, &empty)) {
            return IMAP_SET_MALFORMED;
        }
        if (empty) {
            continue;
        }
        if (set->count >= IMAP_RANGES_MAX) {
            return IMAP_SET_TOO_LONG;
        }
        if (!make_room(set, 1)) {
            return IMAP_SET_NO_MEMORY;
        }
        set->ranges[set->count++] = range;
    }
    normalise(set);
    return IMAP_SET_GOOD;
}

/* The index of the first range that ends at or behind the number. */
static size_t find_range(const struct imap_set *set, uint32_t number)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].last < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool imap_set_contains(const struct imap_set *set, uint32_t number)
{
    size_t at = find_range(set, number);
    return at < set->count && set->ranges[at].first <= number;
}

uint32_t imap_set_next(const struct imap_set *set, uint32_t number)
{
    size_t at = find_range(set, number);
    if (at == set->count) {
        return 0;
    }
    return set->ranges[at].first > number ? set->ranges[at].first : number;
}

uint64_t imap_set_size(const struct imap_set *set)
{
    uint64_t size = 0;
    for (size_t i = 0; i < set->count; i++) {
        size += (uint64_t)set->ranges[i].last - set->ranges[i].first + 1;
    }
    return size;
}

uint32_t imap_set_max(const struct imap_set *set)
{
    return set->count == 0 ? 0 : set->ranges[set->count - 1].last;
}

bool imap_set_write(const struct imap_set *set, struct buf *out)
{
    for (size_t i = 0; i < set->count; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        buf_append_u64(out, set->ranges[i].first);
        if (set->ranges[i].last != set->ranges[i].first) {
            buf_append_char(out, ':');
            buf_append_u64(out, set->ranges[i].last);
        }
    }
    return buf_ok(out);
}

bool imap_set_copy(struct imap_set *to, const struct imap_set *from)
{
    imap_set_clear(to);
    if (!make_room(to, from->count)) {
        return false;
    }
    if (from->count > 0) {
        memcpy(to->ranges, from->ranges, from->count * sizeof(*from->ranges));
    }
    to->count = from->count;
    return true;
}

bool imap_set_pack(const struct imap_set *set, struct buf *out)
{
    for (size_t i = 0; i < set->count; i++) {
        buf_append_le32(out, set->ranges[i].first);
        buf_append_le32(out, set->ranges[i].last);
    }
    return buf_ok(out);
}
