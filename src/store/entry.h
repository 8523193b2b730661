/* Rows of the queue: one recipient of one message that another host is to take. */
#ifndef VEREDUS_STORE_ENTRY_H
#define VEREDUS_STORE_ENTRY_H

#include "store/index.h"

enum entry_state { ENTRY_WAITING, ENTRY_HELD, ENTRY_GIVEN };

struct entry {
    int64_t id;
    struct ident record;
    uint32_t recipient; /* its number in the record's envelope */
    enum entry_state state;
    uint64_t due_ms; /* wall clock */
    uint32_t attempts;
    uint64_t first_ms; /* when it was queued */
    bool notified;     /* the sender knows of the delay */
    uint32_t code;     /* of the last attempt's reply; 0: there was none */
    size_t address_len;
    size_t domain_len;
    size_t enhanced_len;
    size_t reply_len;
    size_t host_len;
    char address[512];
    char domain[256];
    char enhanced[16];
    char reply[1024];
    char host[256];
};

/*
 * Rows that no host is to take have one of these words instead of a domain: why delivery has failed, or which success the
 * sender has asked to be told of. They wait only for the notice.
 */
#define ENTRY_NO_USER   STR("") /* there was one when the message was accepted */
#define ENTRY_DISABLED  STR("(disabled)")
#define ENTRY_FULL      STR("(full)")
#define ENTRY_LOOP      STR("(loop)")
#define ENTRY_TOO_MANY  STR("(too many)")
#define ENTRY_NO_DOMAIN STR("(no domain)")
#define ENTRY_DELIVERED STR("(delivered)")
#define ENTRY_EXPANDED  STR("(expanded)")

#define ENTRY_TEXT(entry, field) str_make((entry)->field, (entry)->field##_len)

int entry_add(struct index *index, const struct ident *record, uint32_t recipient, struct str address,
              struct str domain, uint64_t due_ms);
/* 1 if found, 0 if not, -1 on error. */
int entry_get(struct index *index, int64_t id, struct entry *entry);
int entry_find(struct index *index, const struct ident *record, struct str address, struct entry *entry);
/* Those that wait and are due; the number, or -1. */
int entry_due(struct index *index, uint64_t now_ms, struct entry *entries, int max);
/* Those behind number `after`, in order. */
int entry_list(struct index *index, int64_t after, struct entry *entries, int max);
/* When the next one is due; 0: none waits. */
uint64_t entry_next_due(struct index *index);
int64_t entry_count(struct index *index);
int entry_lease(struct index *index, int64_t id);
int entry_unlease(struct index *index, int64_t id);
/* At the start: what a relay had before the restart waits again. */
int entry_release_all(struct index *index);
int entry_defer(struct index *index, int64_t id, uint64_t due_ms, uint32_t code, struct str enhanced,
                struct str reply, struct str host);
int entry_set_notified(struct index *index, int64_t id);
int entry_set_state(struct index *index, int64_t id, enum entry_state state, uint64_t due_ms);
/* Removes the row and its hold on the record. */
int entry_remove(struct index *index, const struct entry *entry);

#endif
