/* The bytes of records; see payload.h. */
#include "store/payload.h"

#include "base/crc32c.h"
#include "base/mem.h"

enum {
    PIECE = 65536,
    KEPT = 16,
    FIRST = 8192, /* octets read at first of a large record */
    AHEAD = 65536 /* octets read of a segment whose records are asked for one after the other */
};

/* A large record that has been checked as a whole, and the checksums of its pieces. */
struct checked {
    int64_t segment;
    int64_t offset;
    struct ident id;
    uint32_t crc;
    uint64_t used;
    uint32_t *sums; /* NULL: the slot is free */
};

struct payload_cache {
    struct buf octets;  /* records as they lie in the log, or one piece of the payload of a large one */
    int64_t segment;    /* what lies in `octets` is of this one; 0: a piece, or nothing */
    int64_t from;       /* and begins there */
    struct str payload; /* of a small record, within `octets` */
    int64_t next_segment;
    int64_t next; /* here ends the record that was opened last */
    uint64_t clock;
    struct checked checked[KEPT];
};

static struct payload_cache *cache_of(struct segments *s)
{
    if (s->cache == NULL) {
        s->cache = mem_new(struct payload_cache);
        if (s->cache != NULL) {
            s->cache->octets = buf_make(PIECE + FIRST);
        }
    }
    return s->cache;
}

void payload_cache_free(struct payload_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < KEPT; i++) {
        mem_free(cache->checked[i].sums);
    }
    buf_free(&cache->octets);
    mem_free(cache);
}

/* Reads piece number `piece` into the cache's buffer. */
static bool read_piece(const struct payload *p, uint64_t piece)
{
    struct payload_cache *cache = p->segments->cache;
    uint64_t from = piece * PIECE;
    size_t len = p->len - from < PIECE ? (size_t)(p->len - from) : PIECE;
    buf_clear(&cache->octets);
    cache->segment = 0;
    char *room = buf_reserve(&cache->octets, len);
    if (len > 0 && (room == NULL ||
                    !segment_read_at(p->segments, p->segment,
                                     p->offset + record_payload_at(&p->header) + (int64_t)from, room, len))) {
        return false;
    }
    cache->octets.len = len;
    return true;
}

static struct checked *find_checked(struct payload_cache *cache, const struct payload *p)
{
    for (size_t i = 0; i < KEPT; i++) {
        struct checked *c = &cache->checked[i];
        if (c->sums != NULL && c->segment == p->segment && c->offset == p->offset &&
            c->crc == p->header.payload_crc && memcmp(&c->id, &p->header.id, sizeof(c->id)) == 0) {
            c->used = ++cache->clock;
            return c;
        }
    }
    return NULL;
}

static struct checked *oldest(struct payload_cache *cache)
{
    struct checked *found = &cache->checked[0];
    for (size_t i = 1; i < KEPT; i++) {
        if (cache->checked[i].used < found->used) {
            found = &cache->checked[i];
        }
    }
    return found;
}

static bool check_large(const struct payload *p)
{
    struct payload_cache *cache = p->segments->cache;
    uint64_t pieces = (p->len + PIECE - 1) / PIECE;
    uint32_t *sums = mem_zalloc((size_t)pieces, sizeof(*sums));
    uint32_t crc = 0;
    bool fine = sums != NULL;
    for (uint64_t i = 0; fine && i < pieces; i++) {
        fine = read_piece(p, i);
        if (fine) {
            crc = crc32c(crc, cache->octets.data, cache->octets.len);
            sums[i] = crc32c(0, cache->octets.data, cache->octets.len);
        }
    }
    if (!fine || crc != p->header.payload_crc) {
        mem_free(sums);
        return false;
    }
    struct checked *slot = oldest(cache);
    mem_free(slot->sums);
    *slot = (struct checked){.segment = p->segment,
                             .offset = p->offset,
                             .id = p->header.id,
                             .crc = crc,
                             .used = ++cache->clock,
                             .sums = sums};
    return true;
}

static bool is_held(const struct payload_cache *cache, int64_t segment, int64_t offset, size_t len)
{
    return cache->segment == segment && segment != 0 && offset >= cache->from &&
           offset + (int64_t)len <= cache->from + (int64_t)cache->octets.len;
}

/* The first `len` octets of a record, less where the log ends, through the cache's buffer. */
static struct str first_octets(const struct payload *p, size_t len)
{
    struct payload_cache *cache = p->segments->cache;
    if (!is_held(cache, p->segment, p->offset, len)) {
        bool follows = p->segment == cache->next_segment && p->offset == cache->next;
        size_t most = follows && len < AHEAD ? AHEAD : len;
        buf_clear(&cache->octets);
        char *room = buf_reserve(&cache->octets, most);
        ssize_t n = room == NULL ? -1 : segment_read_some(p->segments, p->segment, p->offset, room, most);
        cache->octets.len = n > 0 ? (size_t)n : 0;
        cache->segment = p->segment;
        cache->from = p->offset;
    }
    return str_sub(str_from(buf_str(&cache->octets), (size_t)(p->offset - cache->from)), 0, len);
}

static bool check_small(const struct payload *p, struct str first)
{
    struct payload_cache *cache = p->segments->cache;
    size_t start = (size_t)record_payload_at(&p->header);
    size_t len = (size_t)p->len;
    if (start <= first.len && len <= first.len - start) {
        cache->payload = str_sub(first, start, start + len);
    } else if (read_piece(p, 0)) { /* behind a long summary, or the index has its length wrong */
        cache->payload = buf_str(&cache->octets);
    } else {
        return false;
    }
    return crc32c(0, cache->payload.data, len) == p->header.payload_crc;
}

static bool open_record(struct payload *p, size_t octets, const struct ident *id)
{
    struct payload_cache *cache = p->segments->cache;
    struct str first = first_octets(p, octets >= RECORD_HEADER && octets <= PIECE ? octets : FIRST);
    if (first.len < RECORD_HEADER ||
        record_decode_header((const unsigned char *)first.data, &p->header) != RECORD_GOOD ||
        memcmp(p->header.id.bytes, id->bytes, IDENT_SIZE) != 0) {
        return false;
    }
    cache->next_segment = p->segment;
    cache->next = p->offset + p->header.total;
    p->len = record_payload_len(&p->header);
    if (p->len > PIECE) {
        return find_checked(cache, p) != NULL || check_large(p);
    }
    return check_small(p, first);
}

bool payload_open(struct segments *s, int64_t segment, int64_t offset, size_t octets, const struct ident *id,
                  struct payload *p)
{
    *p = (struct payload){.segments = s, .segment = segment, .offset = offset};
    struct payload_cache *cache = cache_of(s);
    if (cache == NULL) {
        return false;
    }
    bool from_memory = is_held(cache, segment, offset, RECORD_HEADER);
    if (open_record(p, octets, id)) {
        return true;
    }
    /* What was read ahead may have been half written then. */
    cache->segment = 0;
    return from_memory && open_record(p, octets, id);
}

/* Piece number `piece`, checked; an empty slice if it is not as it was. */
static struct str checked_piece(const struct payload *p, uint64_t piece)
{
    struct payload_cache *cache = p->segments->cache;
    if (p->len <= PIECE) {
        return cache->payload;
    }
    const struct checked *c = find_checked(cache, p);
    if (c == NULL || !read_piece(p, piece) ||
        crc32c(0, cache->octets.data, cache->octets.len) != c->sums[piece]) {
        return STR_EMPTY;
    }
    return buf_str(&cache->octets);
}

bool payload_read(const struct payload *p, uint64_t from, size_t len, struct buf *out)
{
    uint64_t end = from < p->len && len < p->len - from ? from + len : p->len;
    while (from < end) {
        uint64_t piece = from / PIECE;
        struct str bytes = checked_piece(p, piece);
        size_t start = (size_t)(from - piece * PIECE);
        struct str part = str_sub(bytes, start, start + (size_t)(end - from));
        if (part.len == 0 || !buf_append_str(out, part)) {
            return false;
        }
        from += part.len;
    }
    return true;
}
