/* What the queue's two files share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_STORE_QUEUE_PRIVATE_H
#define VEREDUS_ROLES_STORE_QUEUE_PRIVATE_H

#include "message/dsn.h"
#include "roles/store_private.h"

enum { JOB_RECIPIENTS_MAX = 100, QUEUE_RELAYS_MAX = 16, HELD_BUCKETS = 256 };

/* store_held.c: what relays hold of jobs of an earlier store. All zero: nothing, and no relay is awaited. */
struct held_jobs {
    struct held_job *buckets[HELD_BUCKETS];
    size_t count;
    uint32_t awaited[QUEUE_RELAYS_MAX]; /* relays that have not told yet */
    size_t awaited_count;
};

/* This relay was there before the store, and will tell. */
void held_await(struct held_jobs *h, uint32_t relay);
/* It has told everything. */
void held_told(struct held_jobs *h, uint32_t relay);
/* Awaits nobody any longer. */
void held_give_up(struct held_jobs *h);
/* From an awaited relay; anybody else's word, and a message id that is none, count for nothing. Copies what it needs. */
void held_add(struct held_jobs *h, struct str message_id, struct str domain, uint32_t relay);
/*
 * The rest of this message for this domain goes to this relay as well, until the job `of`, not 0, is done. False: there are too
 * many, or no memory, which is told.
 */
bool held_keep(struct held_jobs *h, const struct ident *record, struct str domain, uint32_t relay,
               uint64_t of);
/* That job is done, or was never given. */
void held_done(struct held_jobs *h, const struct ident *record, uint64_t of);
/* The instance of the relay that holds this message for this domain; 0: none. */
uint32_t held_by(struct held_jobs *h, const struct ident *record, struct str domain);
/* A job for it has been given to that relay: one of as many as were added. */
void held_given(struct held_jobs *h, const struct ident *record, struct str domain);
void held_relay_gone(struct held_jobs *h, uint32_t relay);

/* A record of the log that the queue needs: its header and envelope. */
struct queued_record {
    int64_t segment;
    int64_t offset;
    struct record_header header;
    struct record_envelope envelope; /* points into bytes */
    struct buf bytes;
};

/* False: it cannot be read. Otherwise free it with queued_record_free. */
bool queued_record_read(struct store *s, const struct ident *id, struct queued_record *record);
void queued_record_free(struct queued_record *record);
/*
 * What the sender wants to know of a row (`recipient` is the row's): without SUCCESS where an alias with several targets has
 * brought it about, for then the expansion is what the sender is told of (RFC 3461, section 5.2.7.3).
 */
uint8_t queued_notify(struct store *s, const struct record_recipient *recipient, const struct entry *entry);
bool queued_record_recipient(const struct queued_record *record, uint32_t number,
                             struct record_recipient *recipient);

/* One recipient whose sender is to be told something. */
struct report {
    struct report *next;
    struct entry entry;
    enum dsn_action action;
    bool expired;
    bool uncertain;
    unsigned code;
    uint64_t now_ms;
    uint64_t retry_until_ms;
    size_t enhanced_len;
    size_t text_len;
    size_t host_len;
    size_t address_len;
    char enhanced[16];
    char text[1024];
    char host[256];
    char address[64];
};

struct report_list {
    struct report *first;
    struct report **last;
};

void report_list_init(struct report_list *list);
/* Copies what is needed. False without memory. */
bool report_add(struct report_list *list, const struct entry *entry, const struct queue_result *result,
                enum dsn_action action, bool expired, uint64_t retry_until_ms);
/* Whether the message's reverse-path is null. False: it cannot be read. */
bool report_null_sender(struct store *s, const struct ident *record, bool *null_sender);
/*
 * Within a transaction: writes one notice a message and kind into the store's own segment, settles the entries, and empties
 * the list. -1: roll back; the list is then empty too, and the results that made it come again.
 */
int reports_write(struct store *s, struct report_list *list);
/* After a rollback: empties the list. */
void reports_forget(struct report_list *list);

#endif
