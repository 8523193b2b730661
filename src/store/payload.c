/* The bytes of records; see payload.h. */
#include "store/payload.h"

#include "base/crc32c.h"
#include "base/mem.h"

enum { PIECE = 65536, KEPT = 16, FIRST = 8192 };

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
    struct buf whole; /* a small record, or one piece of the payload of a large one */
    size_t start;     /* of what is in `whole` the payload begins here */
    uint64_t clock;
    struct checked checked[KEPT];
};

static struct payload_cache *cache_of(struct segments *s)
{
    if (s->cache == NULL) {
        s->cache = mem_new(struct payload_cache);
        if (s->cache != NULL) {
            s->cache->whole = buf_make(PIECE + FIRST);
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
    buf_free(&cache->whole);
    mem_free(cache);
}

/* Reads piece number `piece` into the cache's buffer. */
static bool read_piece(const struct payload *p, uint64_t piece)
{
    struct buf *whole = &p->segments->cache->whole;
    uint64_t from = piece * PIECE;
    size_t len = p->len - from < PIECE ? (size_t)(p->len - from) : PIECE;
    buf_clear(whole);
    p->segments->cache->start = 0;
    char *room = buf_reserve(whole, len);
    if (len > 0 && (room == NULL ||
                    !segment_read_at(p->segments, p->segment,
                                     p->offset + record_payload_at(&p->header) + (int64_t)from, room, len))) {
        return false;
    }
    whole->len = len;
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
            crc = crc32c(crc, cache->whole.data, cache->whole.len);
            sums[i] = crc32c(0, cache->whole.data, cache->whole.len);
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

/* The payload of a small record, of which the cache's buffer has the beginning. */
static bool read_small(const struct payload *p)
{
    struct payload_cache *cache = p->segments->cache;
    struct buf *whole = &cache->whole;
    uint64_t start = (uint64_t)record_payload_at(&p->header);
    uint64_t end = start + p->len;
    if (start > whole->len) {
        return read_piece(p, 0);
    }
    cache->start = (size_t)start;
    if (end > whole->len) {
        size_t more = (size_t)end - whole->len;
        char *room = buf_reserve(whole, more);
        if (room == NULL ||
            !segment_read_at(p->segments, p->segment, p->offset + (int64_t)whole->len, room, more)) {
            return false;
        }
    }
    whole->len = (size_t)end;
    return true;
}

static struct str small_payload(const struct payload_cache *cache)
{
    return str_from(buf_str(&cache->whole), cache->start);
}

/* Most records are so short that one read gives all of them. */
bool payload_open(struct segments *s, int64_t segment, int64_t offset, const struct ident *id,
                  struct payload *p)
{
    *p = (struct payload){.segments = s, .segment = segment, .offset = offset};
    struct payload_cache *cache = cache_of(s);
    if (cache == NULL) {
        return false;
    }
    buf_clear(&cache->whole);
    char *room = buf_reserve(&cache->whole, FIRST);
    ssize_t n = room == NULL ? -1 : segment_read_some(s, segment, offset, room, FIRST);
    if (n < RECORD_HEADER || record_decode_header((const unsigned char *)room, &p->header) != RECORD_GOOD ||
        memcmp(p->header.id.bytes, id->bytes, IDENT_SIZE) != 0) {
        return false;
    }
    cache->whole.len = (size_t)n;
    p->len = record_payload_len(&p->header);
    if (p->len > PIECE) {
        return find_checked(cache, p) != NULL || check_large(p);
    }
    return read_small(p) && crc32c(0, small_payload(cache).data, (size_t)p->len) == p->header.payload_crc;
}

/* Piece number `piece`, checked; an empty slice if it is not as it was. */
static struct str checked_piece(const struct payload *p, uint64_t piece)
{
    struct payload_cache *cache = p->segments->cache;
    if (p->len <= PIECE) {
        return small_payload(cache);
    }
    const struct checked *c = find_checked(cache, p);
    if (c == NULL || !read_piece(p, piece) ||
        crc32c(0, cache->whole.data, cache->whole.len) != c->sums[piece]) {
        return STR_EMPTY;
    }
    return buf_str(&cache->whole);
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
