/* POP3's exclusive lock on a mailbox, and expunging. Part of the store role. */
#include "roles/store_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/move.h"

#include <string.h>

enum { LOCK_BUCKETS = 256 };

static struct mailbox_lock_entry **bucket_of(struct store *s, int64_t account)
{
    return &s->locks[(uint64_t)account % LOCK_BUCKETS];
}

static struct mailbox_lock_entry *find_lock(struct store *s, uint32_t instance, uint64_t handle)
{
    for (size_t b = 0; b < LOCK_BUCKETS; b++) {
        for (struct mailbox_lock_entry *lock = s->locks[b]; lock != NULL; lock = lock->next) {
            if (lock->handle == handle && lock->instance == instance) {
                return lock;
            }
        }
    }
    return NULL;
}

static bool is_locked(struct store *s, int64_t account)
{
    for (struct mailbox_lock_entry *lock = *bucket_of(s, account); lock != NULL; lock = lock->next) {
        if (lock->account == account) {
            return true;
        }
    }
    return false;
}

/* 0: there is no room. */
static uint64_t add_lock(struct store *s, int64_t account, uint32_t instance)
{
    struct mailbox_lock_entry *lock =
        s->lock_count < STORE_LOCKS_MAX ? mem_new(struct mailbox_lock_entry) : NULL;
    if (lock == NULL) {
        return 0;
    }
    struct mailbox_lock_entry **bucket = bucket_of(s, account);
    *lock = (struct mailbox_lock_entry){
        .next = *bucket, .account = account, .handle = ++s->next_handle, .instance = instance};
    *bucket = lock;
    s->lock_count++;
    return lock->handle;
}

static void remove_locks(struct store *s, uint32_t instance, uint64_t handle)
{
    for (size_t b = 0; b < LOCK_BUCKETS; b++) {
        struct mailbox_lock_entry **link = &s->locks[b];
        while (*link != NULL) {
            struct mailbox_lock_entry *lock = *link;
            if (lock->instance == instance && (handle == 0 || lock->handle == handle)) {
                *link = lock->next;
                s->lock_count--;
                mem_free(lock);
            } else {
                link = &lock->next;
            }
        }
    }
}

void store_mailbox_peer_down(struct store *s, uint32_t instance)
{
    remove_locks(s, instance, 0);
}

static void answer_lock(struct role_peer *peer, uint64_t ticket, enum mailbox_result result, uint64_t handle)
{
    struct mailbox_locked answer = {.ticket = ticket, .result = (uint8_t)result, .handle = handle};
    role_send(peer, &mailbox_locked_type, &answer);
}

static void ask_lock(struct store *s, struct role_peer *peer, const struct mailbox_lock *ask)
{
    struct grant grant;
    if (!grant_check(ask->grant, s->grant_key, &grant) || grant.kind != ROLE_IMAPD ||
        grant.instance != peer->instance || grant.boot != role_boot(s->role)) {
        answer_lock(peer, ask->ticket, MAILBOX_REFUSED, 0);
        return;
    }
    if (is_locked(s, (int64_t)grant.account)) {
        answer_lock(peer, ask->ticket, MAILBOX_IN_USE, 0);
        return;
    }
    uint64_t handle = add_lock(s, (int64_t)grant.account, peer->instance);
    struct store_request *r = handle == 0 ? NULL : store_request_add(s, peer, ask->ticket);
    if (r == NULL) {
        answer_lock(peer, ask->ticket, MAILBOX_TEMPORARY, 0);
        return;
    }
    r->kind = REQUEST_LOCK;
    r->handle = handle;
    r->account = (int64_t)grant.account;
}

static void ask_expunge(struct store *s, struct role_peer *peer, const struct mailbox_expunge *ask)
{
    const struct mailbox_lock_entry *lock = find_lock(s, peer->instance, ask->handle);
    struct mailbox_expunged answer = {.ticket = ask->ticket, .result = MAILBOX_REFUSED};
    if (lock != NULL && ask->last && ask->uids.len == 0) {
        remove_locks(s, peer->instance, ask->handle);
        answer.result = MAILBOX_OK;
        role_send(peer, &mailbox_expunged_type, &answer);
        return;
    }
    struct store_request *r = lock == NULL ? NULL : store_request_add(s, peer, ask->ticket);
    if (r == NULL) {
        role_send(peer, &mailbox_expunged_type, &answer);
        return;
    }
    r->kind = REQUEST_EXPUNGE;
    r->handle = ask->handle;
    r->account = lock->account;
    r->last = ask->last;
    r->failed = !buf_append_str(&r->uids, ask->uids);
}

void store_mailbox_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                           const void *message)
{
    if (type == &mailbox_lock_type) {
        ask_lock(s, peer, message);
    } else if (type == &mailbox_unlock_type) {
        remove_locks(s, peer->instance, ((const struct mailbox_unlock *)message)->handle);
    } else if (type == &mailbox_expunge_type) {
        ask_expunge(s, peer, message);
    }
}

/* UIDs of 32 bits each, rising, as ranges. NULL without memory. */
static struct uid_range *ranges_of(struct str uids, size_t *count)
{
    struct uid_range *ranges = mem_zalloc(uids.len / 4 + 1, sizeof(*ranges));
    *count = 0;
    for (size_t at = 0; ranges != NULL && at + 4 <= uids.len; at += 4) {
        uint32_t uid;
        memcpy(&uid, uids.data + at, sizeof(uid));
        if (*count > 0 && uid <= ranges[*count - 1].last) {
            continue; /* an honest imapd sends them in order */
        }
        if (*count > 0 && uid == ranges[*count - 1].last + 1) {
            ranges[*count - 1].last = uid;
        } else {
            ranges[(*count)++] = (struct uid_range){uid, uid};
        }
    }
    return ranges;
}

int store_mailbox_do(struct store *s, struct store_request *r)
{
    struct mailbox mailbox;
    struct move_result result = {.source_uids = NULL};
    size_t count;
    if (r->kind == REQUEST_LOCK) {
        return 0; /* all it wants is that the log has been applied */
    }
    int found = mailbox_find(s->index, r->account, MAILBOX_INBOX, &mailbox);
    r->failed = found == 0;
    if (found <= 0) {
        return found;
    }
    struct expunge_note note = {
        .wall_ms = clock_wall_ms(), .before = STR("mailbox=INBOX uid="), .after = STR(" by=pop3")};
    struct uid_range *ranges = ranges_of(buf_str(&r->uids), &count);
    int done =
        ranges == NULL ? -1 : expunge_messages(s->index, &mailbox, ranges, count, false, &note, &result);
    mem_free(ranges);
    return done;
}

void store_mailbox_answer(struct store *s, const struct store_request *r, bool committed)
{
    struct role_peer *peer = role_peer_find(s->role, r->peer_kind, r->peer_instance);
    bool fine = committed && !r->failed;
    if (r->kind == REQUEST_LOCK) {
        if (!fine || peer == NULL) {
            remove_locks(s, r->peer_instance, r->handle);
        }
        answer_lock(peer, r->ticket, fine ? MAILBOX_OK : MAILBOX_TEMPORARY, fine ? r->handle : 0);
        return;
    }
    if (fine && r->last) {
        remove_locks(s, r->peer_instance, r->handle);
    }
    struct mailbox_expunged answer = {.ticket = r->ticket, .result = fine ? MAILBOX_OK : MAILBOX_TEMPORARY};
    role_send(peer, &mailbox_expunged_type, &answer);
}
