/*
 * What relays hold of jobs of an earlier store: messages that they have delivered, or are still at, without this store knowing.
 * Each goes to the relay that holds it, which tells the result instead of sending a second copy. So that it is one relay, the
 * parts of a message for many recipients in one domain go to the same one. Part of the store role.
 */
#include "roles/store_queue_private.h"

#include "base/log.h"
#include "base/mem.h"

enum { HELD_MAX = 100000 };

struct held_job {
    struct held_job *next;
    struct ident record;
    uint64_t job; /* whose rest it is; 0: of an earlier store */
    uint32_t relay;
    size_t domain_len;
    unsigned char domain[];
};

/* The random part of an id. */
static struct held_job **bucket_of(struct held_jobs *h, const struct ident *record)
{
    return &h->buckets[record->bytes[IDENT_SIZE - 1] % HELD_BUCKETS];
}

static bool is_held(const struct held_job *job, const struct ident *record, struct str domain)
{
    return memcmp(job->record.bytes, record->bytes, IDENT_SIZE) == 0 &&
           str_equal(str_make(job->domain, job->domain_len), domain);
}

static void forget(struct held_jobs *h, struct held_job **link)
{
    struct held_job *job = *link;
    *link = job->next;
    h->count--;
    mem_free(job);
}

void held_await(struct held_jobs *h, uint32_t relay)
{
    if (h->awaited_count < QUEUE_RELAYS_MAX) {
        h->awaited[h->awaited_count++] = relay;
    }
}

static size_t find_awaited(const struct held_jobs *h, uint32_t relay)
{
    size_t at = 0;
    while (at < h->awaited_count && h->awaited[at] != relay) {
        at++;
    }
    return at;
}

void held_told(struct held_jobs *h, uint32_t relay)
{
    size_t at = find_awaited(h, relay);
    if (at < h->awaited_count) {
        h->awaited[at] = h->awaited[--h->awaited_count];
    }
}

void held_give_up(struct held_jobs *h)
{
    if (h->awaited_count > 0) {
        log_warning(
            "%zu relays have not said what they hold; what they have delivered may be delivered again",
            h->awaited_count);
        h->awaited_count = 0;
    }
}

bool held_keep(struct held_jobs *h, const struct ident *record, struct str domain, uint32_t relay,
               uint64_t of)
{
    struct held_job *job = h->count == HELD_MAX ? NULL : mem_alloc(sizeof(*job) + domain.len);
    if (job == NULL) {
        log_error("out of memory: what a relay has delivered may be delivered again");
        return false;
    }
    struct held_job **bucket = bucket_of(h, record);
    *job = (struct held_job){
        .next = *bucket, .record = *record, .job = of, .relay = relay, .domain_len = domain.len};
    memcpy(job->domain, domain.data, domain.len);
    *bucket = job;
    h->count++;
    return true;
}

void held_add(struct held_jobs *h, struct str message_id, struct str domain, uint32_t relay)
{
    struct ident record;
    if (find_awaited(h, relay) < h->awaited_count && ident_parse(message_id, &record)) {
        held_keep(h, &record, domain, relay, 0);
    }
}

uint32_t held_by(struct held_jobs *h, const struct ident *record, struct str domain)
{
    struct held_job *job = h->count == 0 ? NULL : *bucket_of(h, record);
    while (job != NULL && !is_held(job, record, domain)) {
        job = job->next;
    }
    return job == NULL ? 0 : job->relay;
}

void held_given(struct held_jobs *h, const struct ident *record, struct str domain)
{
    struct held_job **link = bucket_of(h, record);
    while (*link != NULL) {
        if (is_held(*link, record, domain)) {
            forget(h, link);
            return;
        }
        link = &(*link)->next;
    }
}

void held_done(struct held_jobs *h, const struct ident *record, uint64_t of)
{
    struct held_job **link = bucket_of(h, record);
    while (*link != NULL && (*link)->job != of) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        forget(h, link);
    }
}

void held_relay_gone(struct held_jobs *h, uint32_t relay)
{
    held_told(h, relay);
    for (size_t b = 0; b < HELD_BUCKETS && h->count > 0; b++) {
        struct held_job **link = &h->buckets[b];
        while (*link != NULL) {
            if ((*link)->relay == relay) {
                forget(h, link);
            } else {
                link = &(*link)->next;
            }
        }
    }
}
