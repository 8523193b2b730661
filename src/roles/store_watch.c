/*
 * Watches: which sessions want to hear that a mailbox has changed, whoever changed it. They hear no more than that; what has
 * changed they ask the reader. Part of the store role.
 */
#include "roles/store_private.h"

#include "base/mem.h"
#include "store/acl.h"

enum { BUCKETS = 16384, WATCHES_MAX = 1000000 };

struct watch {
    struct watch *next;         /* of the same bucket of mailboxes */
    struct watch *next_session; /* of the same bucket of sessions */
    int64_t account;            /* that owns the mailbox */
    int64_t mailbox;
    int64_t watcher; /* the account of the session */
    uint64_t ticket;
    uint32_t instance; /* of imapd */
    bool read_only;
    bool revoked; /* the watcher may not read there any more, and has been told of that change */
    bool told;    /* in the round under way */
};

struct store_watches {
    struct watch *by_mailbox[BUCKETS];
    struct watch *by_session[BUCKETS];
    size_t count;
};

static struct watch **mailbox_bucket(struct store_watches *w, int64_t account, int64_t mailbox)
{
    uint64_t hash = ((uint64_t)account * 0x9e3779b97f4a7c15ULL + (uint64_t)mailbox) * 0xc2b2ae3d27d4eb4fULL;
    return &w->by_mailbox[hash >> 50];
}

static struct watch **session_bucket(struct store_watches *w, uint32_t instance, uint64_t ticket)
{
    uint64_t hash = (ticket * 0x9e3779b97f4a7c15ULL + instance) * 0xc2b2ae3d27d4eb4fULL;
    return &w->by_session[hash >> 50];
}

struct store_watches *store_watches_new(void)
{
    return mem_new(struct store_watches);
}

/* Takes it out of its mailbox's list and frees it; it must be out of its session's list. */
static void end_watch(struct store_watches *w, struct watch *watch)
{
    struct watch **link = mailbox_bucket(w, watch->account, watch->mailbox);
    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
    w->count--;
    mem_free(watch);
}

static void forget(struct store *s, uint32_t instance, uint64_t ticket)
{
    for (struct watch **link = session_bucket(s->watches, instance, ticket); *link != NULL;
         link = &(*link)->next_session) {
        struct watch *watch = *link;
        if (watch->ticket == ticket && watch->instance == instance) {
            *link = watch->next_session;
            end_watch(s->watches, watch);
            break;
        }
    }
    s->index->tracking = s->watches->count > 0;
}

void store_watch_message(struct store *s, struct role_peer *peer, const struct mailbox_watch *ask)
{
    struct grant grant;
    struct mailbox_news news = {.ticket = ask->ticket};
    forget(s, peer->instance, ask->ticket);
    if (ask->mailbox == 0 || !grant_check(ask->grant, s->grant_key, &grant) || grant.kind != ROLE_IMAPD ||
        grant.instance != peer->instance || grant.boot != role_boot(s->role)) {
        return;
    }
    int64_t owner = ask->owner == 0 ? (int64_t)grant.account : (int64_t)ask->owner;
    bool allowed = acl_reads(s->index, (int64_t)grant.account, owner, (int64_t)ask->mailbox) == 1;
    struct watch *watch = allowed && s->watches->count < WATCHES_MAX ? mem_new(struct watch) : NULL;
    if (watch == NULL) {
        return; /* the session sees changes with its next command */
    }
    struct watch **by_mailbox = mailbox_bucket(s->watches, owner, (int64_t)ask->mailbox);
    struct watch **by_session = session_bucket(s->watches, peer->instance, ask->ticket);
    *watch = (struct watch){.next = *by_mailbox,
                            .next_session = *by_session,
                            .account = owner,
                            .watcher = (int64_t)grant.account,
                            .mailbox = (int64_t)ask->mailbox,
                            .ticket = ask->ticket,
                            .instance = peer->instance,
                            .read_only = ask->read_only};
    *by_mailbox = watch;
    *by_session = watch;
    s->watches->count++;
    s->index->tracking = true;
    /* What happened between the session's look at the mailbox and now would be missed. */
    role_send(peer, &mailbox_news_type, &news);
}

void store_watch_peer_down(struct store *s, uint32_t instance)
{
    for (size_t b = 0; b < BUCKETS; b++) {
        struct watch **link = &s->watches->by_session[b];
        while (*link != NULL) {
            struct watch *watch = *link;
            if (watch->instance == instance) {
                *link = watch->next_session;
                end_watch(s->watches, watch);
            } else {
                link = &watch->next_session;
            }
        }
    }
    s->index->tracking = s->watches->count > 0;
}

bool store_watch_takes_recent(const struct store *s, int64_t account, int64_t mailbox)
{
    for (const struct watch *watch = *mailbox_bucket(s->watches, account, mailbox); watch != NULL;
         watch = watch->next) {
        if (watch->account == account && watch->mailbox == mailbox && !watch->read_only) {
            return true;
        }
    }
    return false;
}

static void tell(struct store *s, const struct watch *watch)
{
    struct mailbox_news news = {.ticket = watch->ticket};
    role_send(role_peer_find(s->role, ROLE_IMAPD, watch->instance), &mailbox_news_type, &news);
}

static void tell_all(struct store *s)
{
    for (size_t b = 0; b < BUCKETS; b++) {
        for (struct watch *watch = s->watches->by_mailbox[b]; watch != NULL; watch = watch->next) {
            if (!watch->revoked) {
                tell(s, watch);
            }
        }
    }
}

static void tell_one(struct store *s, const struct touched *touched, bool now)
{
    struct watch *watch = *mailbox_bucket(s->watches, touched->account, touched->mailbox);
    for (; watch != NULL; watch = watch->next) {
        if (watch->account != touched->account || watch->mailbox != touched->mailbox) {
            continue;
        }
        if (now && !watch->told && !watch->revoked) {
            /* Even a lack of the right that is news itself is told, once. */
            watch->revoked = acl_reads(s->index, watch->watcher, watch->account, watch->mailbox) == 0;
            tell(s, watch);
        }
        watch->told = now;
    }
}

void store_watch_tell(struct store *s)
{
    const struct buf *touched = &s->index->touched;
    struct touched one;
    if (!buf_ok(touched)) {
        tell_all(s);
        return;
    }
    /* Twice: a mailbox that was changed several times is told once. */
    for (int now = 1; now >= 0; now--) {
        for (size_t at = 0; at + sizeof(one) <= touched->len; at += sizeof(one)) {
            memcpy(&one, touched->data + at, sizeof(one));
            tell_one(s, &one, now != 0);
        }
    }
}
