/* What the queue's two files share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_STORE_QUEUE_PRIVATE_H
#define VEREDUS_ROLES_STORE_QUEUE_PRIVATE_H

#include "message/dsn.h"
#include "roles/store_private.h"

enum { JOB_RECIPIENTS_MAX = 100 };

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
