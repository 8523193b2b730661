/* Open mailboxes of imapd, and what POP3 asks of them. Part of the reader role. */
#include "roles/reader_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/folder.h"

static uint64_t handle_number(const struct reader *r, size_t slot)
{
    return (uint64_t)r->handles[slot].generation << 32 | slot;
}

struct open_mailbox *reader_find_handle(struct reader *r, const struct role_peer *peer, uint64_t handle)
{
    size_t slot = handle & 0xffffffffU;
    if (slot >= READER_HANDLES_MAX) {
        return NULL;
    }
    struct open_mailbox *open = &r->handles[slot];
    return open->used && open->instance == peer->instance && open->generation == handle >> 32 ? open : NULL;
}

enum mailbox_result reader_denied(uint32_t rights)
{
    return (rights & RIGHT_LOOKUP) != 0 ? MAILBOX_REFUSED : MAILBOX_MISSING;
}

struct open_mailbox *reader_use_handle(struct reader *r, const struct role_peer *peer, uint64_t handle,
                                       uint32_t *rights, enum mailbox_result *result)
{
    struct open_mailbox *open = reader_find_handle(r, peer, handle);
    *result = MAILBOX_REFUSED;
    if (open == NULL) {
        return NULL;
    }
    struct mailbox mailbox = {.account = open->account, .id = open->mailbox};
    bool known = acl_rights(r->index, open->reader, &mailbox, rights) == 0;
    *result = !known ? MAILBOX_TEMPORARY : (*rights & RIGHT_READ) != 0 ? MAILBOX_OK : MAILBOX_MISSING;
    return *result == MAILBOX_OK ? open : NULL;
}

void reader_send_end(struct role_peer *peer, uint64_t ticket, enum mailbox_result result)
{
    struct mailbox_end end = {.ticket = ticket, .result = (uint8_t)result};
    role_send(peer, &mailbox_end_type, &end);
}

static struct open_mailbox *take_slot(struct reader *r, size_t *slot)
{
    for (size_t i = 0; i < READER_HANDLES_MAX; i++) {
        size_t at = (r->next_slot + i) % READER_HANDLES_MAX;
        if (!r->handles[at].used) {
            r->next_slot = at + 1;
            *slot = at;
            r->handles[at].generation++;
            return &r->handles[at];
        }
    }
    return NULL;
}

static void describe(struct reader *r, const struct mailbox *mailbox, struct mailbox_opened *answer,
                     unsigned char id[MAILBOX_OBJECT_ID])
{
    folder_object_id(mailbox, id);
    answer->result = MAILBOX_OK;
    answer->owner = (uint64_t)mailbox->account;
    answer->mailbox = (uint64_t)mailbox->id;
    answer->uid_validity = mailbox->uid_validity;
    answer->uid_next = mailbox->uid_next;
    answer->modseq = mailbox->modseq;
    answer->count = mailbox->messages;
    answer->recent = reader_recent(r, mailbox);
    answer->id = str_make(id, MAILBOX_OBJECT_ID);
    answer->keywords = buf_str(&r->keywords);
}

static void answer_open(struct reader *r, struct role_peer *peer, const struct mailbox_open *ask)
{
    struct mailbox_opened answer = {
        .ticket = ask->ticket, .result = MAILBOX_REFUSED, .id = STR_EMPTY, .keywords = STR_EMPTY};
    unsigned char id[MAILBOX_OBJECT_ID];
    struct mailbox mailbox;
    struct grant grant;
    size_t slot = 0;
    uint32_t rights;
    if (reader_grant_of(r, peer, ask->grant, &grant)) {
        int found = acl_find(r->index, (int64_t)grant.account, ask->mailbox, &mailbox, &rights);
        bool allowed = found == 1 && (rights & RIGHT_READ) != 0;
        struct open_mailbox *open = allowed ? take_slot(r, &slot) : NULL;
        answer.result = (uint8_t)(found < 0 || allowed ? MAILBOX_TEMPORARY : reader_denied(rights));
        if (open != NULL && reader_keywords(r, &mailbox)) {
            open->used = true;
            open->instance = peer->instance;
            open->reader = (int64_t)grant.account;
            open->account = mailbox.account;
            answer.rights = rights;
            open->mailbox = mailbox.id;
            answer.handle = handle_number(r, slot);
            describe(r, &mailbox, &answer, id);
        }
    }
    role_send(peer, &mailbox_opened_type, &answer);
}

static bool append_entry(struct buf *out, const struct mailbox_entry *entry)
{
    return buf_append_le32(out, entry->uid) && buf_append_le32(out, 0) && buf_append_le64(out, entry->size) &&
           buf_append_le64(out, entry->internal_ms);
}

static void answer_list(struct reader *r, struct role_peer *peer, const struct mailbox_list *ask)
{
    struct mailbox_entries answer = {.ticket = ask->ticket, .entries = STR_EMPTY};
    enum mailbox_result result;
    uint32_t rights;
    const struct open_mailbox *open = reader_use_handle(r, peer, ask->handle, &rights, &result);
    answer.result = (uint8_t)result;
    buf_clear(&r->bytes);
    if (open != NULL) {
        struct mailbox mailbox = {.account = open->account, .id = open->mailbox};
        int count = mailbox_entries(r->index, &mailbox, ask->uid, r->entries, READER_LIST_AT_A_TIME);
        for (int i = 0; i < count; i++) {
            append_entry(&r->bytes, &r->entries[i]);
        }
        answer.result = count < 0 || !buf_ok(&r->bytes) ? MAILBOX_TEMPORARY : MAILBOX_OK;
        answer.more = count == READER_LIST_AT_A_TIME;
        answer.entries = answer.result == MAILBOX_OK ? buf_str(&r->bytes) : STR_EMPTY;
    }
    role_send(peer, &mailbox_entries_type, &answer);
}

static void close_handle(struct reader *r, const struct role_peer *peer, uint64_t handle)
{
    struct open_mailbox *open = reader_find_handle(r, peer, handle);
    if (open != NULL) {
        open->used = false;
    }
}

/* Messages. */

bool reader_mailbox_prepare(struct reader *r)
{
    r->handles = mem_zalloc(READER_HANDLES_MAX, sizeof(*r->handles));
    r->keywords = buf_make(FLAGS_KEYWORDS_OCTETS);
    r->packed = buf_make(MAILBOX_PACKED_MAX);
    r->section = buf_make(RECORD_HEADER + RECORD_SUMMARY_MAX);
    r->summary = buf_make(RECORD_SUMMARY_MAX);
    return r->handles != NULL;
}

bool reader_mailbox_message(struct reader *r, struct role_peer *peer, const struct ipc_type *type,
                            const void *message)
{
    if (type == &mailbox_open_type) {
        answer_open(r, peer, message);
    } else if (type == &mailbox_list_type) {
        answer_list(r, peer, message);
    } else if (type == &mailbox_close_type) {
        close_handle(r, peer, ((const struct mailbox_close *)message)->handle);
    } else if (type == &mailbox_rows_type) {
        reader_answer_rows(r, peer, message);
    } else if (type == &mailbox_metadata_type) {
        reader_answer_metadata(r, peer, message);
    } else if (type == &mailbox_acl_type) {
        reader_answer_acl(r, peer, message);
    } else if (type == &mailbox_ask_flags_type) {
        reader_answer_flags(r, peer, message);
    } else if (type == &mailbox_narrow_type) {
        reader_answer_narrow(r, peer, message);
    } else if (type == &mailbox_fetch_type) {
        reader_answer_fetch(r, peer, message);
    } else {
        return false;
    }
    return true;
}

void reader_mailbox_peer_down(struct reader *r, uint32_t instance)
{
    for (size_t i = 0; i < READER_HANDLES_MAX; i++) {
        if (r->handles[i].used && r->handles[i].instance == instance) {
            r->handles[i].used = false;
        }
    }
}
