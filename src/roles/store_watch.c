/*
 * Watches: which sessions want to hear that a mailbox has changed, or something that an account sees, whoever changed it. They
 * hear no more than that; what has changed they ask the reader. Part of the store role.
 */
#include "roles/store_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/acl.h"

enum { BUCKETS = 16384, WATCHES_MAX = 1000000 };

_Static_assert((int)TOUCH_MESSAGES == (int)ACCOUNT_NEWS_MESSAGES &&
                   (int)TOUCH_NAMES == (int)ACCOUNT_NEWS_NAMES &&
                   (int)TOUCH_METADATA == (int)ACCOUNT_NEWS_METADATA,
               "what has been touched is told as it is");

struct watch {
    struct watch *next;         /* of the same bucket of places */
    struct watch *next_session; /* of the same bucket of sessions */
    struct watch *next_due;
    int64_t account; /* that owns the mailbox */
    int64_t mailbox; /* 0: the watcher's account, and what others share with it */
    int64_t watcher; /* the account of the session */
    uint64_t ticket;
    uint32_t instance; /* of imapd */
    uint32_t what;     /* enum touch: what is to be told */
    uint32_t due;      /* what has happened of it in the transaction that is being told */
    bool read_only;
    bool revoked; /* the watcher may not read there any more, and has been told of that change */
};

struct store_watches {
    struct watch *by_place[BUCKETS];
    struct watch *by_session[BUCKETS];
    struct watch *due;
    size_t count;
    size_t of_accounts;
    bool complained;
};

static struct watch **place_bucket(struct store_watches *w, int64_t account, int64_t mailbox)
{
    uint64_t hash = ((uint64_t)account * 0x9e3779b97f4a7c15ULL + (uint64_t)mailbox) * 0xc2b2ae3d27d4eb4fULL;
    return &w->by_place[hash >> 50];
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

/* Coming and going. */

/* Takes it out of its place's list and frees it; it must be out of its session's list. */
static void end_watch(struct store_watches *w, struct watch *watch)
{
    struct watch **link = place_bucket(w, watch->account, watch->mailbox);
    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
    w->count--;
    w->of_accounts -= watch->mailbox == 0;
    w->complained =
        w->complained && w->count > WATCHES_MAX / 2; /* not once for each session that comes and goes */
    mem_free(watch);
}

/* A session has one watch of a mailbox and one of its account. */
static struct watch **find(struct store *s, uint32_t instance, uint64_t ticket, bool of_account)
{
    struct watch **link = session_bucket(s->watches, instance, ticket);
    while (*link != NULL && ((*link)->ticket != ticket || (*link)->instance != instance ||
                             ((*link)->mailbox == 0) != of_account)) {
        link = &(*link)->next_session;
    }
    return link;
}

static void forget(struct store *s, uint32_t instance, uint64_t ticket, bool of_account)
{
    struct watch **link = find(s, instance, ticket, of_account);
    struct watch *watch = *link;
    if (watch != NULL) {
        *link = watch->next_session;
        end_watch(s->watches, watch);
    }
    s->index->tracking = s->watches->count > 0;
}

/* False: there are too many. */
static bool add(struct store *s, const struct watch *new)
{
    struct store_watches *w = s->watches;
    struct watch *watch = w->count < WATCHES_MAX ? mem_new(struct watch) : NULL;
    if (watch == NULL) {
        if (!w->complained) {
            log_warning("%zu mailboxes are watched by IMAP sessions, and no more can be: others look for "
                        "news themselves",
                        w->count);
        }
        w->complained = true;
        return false;
    }
    struct watch **by_place = place_bucket(w, new->account, new->mailbox);
    struct watch **by_session = session_bucket(w, new->instance, new->ticket);
    *watch = *new;
    watch->next = *by_place;
    watch->next_session = *by_session;
    *by_place = watch;
    *by_session = watch;
    w->count++;
    w->of_accounts += watch->mailbox == 0;
    s->index->tracking = true;
    return true;
}

static bool is_granted(const struct store *s, const struct role_peer *peer, struct str text,
                       struct grant *grant)
{
    return grant_check(text, s->grant_key, grant) && grant->kind == ROLE_IMAPD &&
           grant->instance == peer->instance && grant->boot == role_boot(s->role);
}

void store_watch_message(struct store *s, struct role_peer *peer, const struct mailbox_watch *ask)
{
    struct grant grant;
    struct mailbox_news news = {.ticket = ask->ticket};
    forget(s, peer->instance, ask->ticket, false);
    if (ask->mailbox == 0 || !is_granted(s, peer, ask->grant, &grant)) {
        return;
    }
    struct watch watch = {.account = ask->owner == 0 ? (int64_t)grant.account : (int64_t)ask->owner,
                          .mailbox = (int64_t)ask->mailbox,
                          .watcher = (int64_t)grant.account,
                          .ticket = ask->ticket,
                          .instance = peer->instance,
                          .what = TOUCH_MESSAGES | TOUCH_NAMES,
                          .read_only = ask->read_only};
    if (acl_reads(s->index, watch.watcher, watch.account, watch.mailbox) != 1) {
        return; /* the reader tells the session so */
    }
    news.refused = !add(s, &watch);
    /* What happened between the session's look at the mailbox and now would be missed. */
    role_send(peer, &mailbox_news_type, &news);
}

void store_watch_account(struct store *s, struct role_peer *peer, const struct account_watch *ask)
{
    struct grant grant;
    struct account_watched answer = {.ticket = ask->ticket, .result = CHANGE_RESULT_REFUSED};
    struct watch *watch = *find(s, peer->instance, ask->ticket, true);
    if (ask->news == 0) {
        forget(s, peer->instance, ask->ticket, true);
        answer.result = CHANGE_RESULT_DONE;
    } else if (is_granted(s, peer, ask->grant, &grant)) {
        struct watch new = {.account = (int64_t)grant.account,
                            .watcher = (int64_t)grant.account,
                            .ticket = ask->ticket,
                            .instance = peer->instance,
                            .what = ask->news};
        bool fine = true;
        if (watch != NULL && watch->watcher == new.watcher) {
            watch->what = ask->news;
        } else {
            forget(s, peer->instance, ask->ticket, true);
            fine = add(s, &new);
        }
        answer.result = fine ? CHANGE_RESULT_DONE : CHANGE_RESULT_LIMIT;
    }
    role_send(peer, &account_watched_type, &answer);
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
    for (const struct watch *watch = *place_bucket(s->watches, account, mailbox); watch != NULL;
         watch = watch->next) {
        if (watch->account == account && watch->mailbox == mailbox && !watch->read_only) {
            return true;
        }
    }
    return false;
}

/* Telling. */

static void note(struct store_watches *w, struct watch *watch, uint32_t what)
{
    what &= watch->what;
    if (what != 0 && watch->due == 0) {
        watch->next_due = w->due;
        w->due = watch;
    }
    watch->due |= what;
}

static void note_place(struct store_watches *w, int64_t account, int64_t mailbox, uint32_t what)
{
    for (struct watch *watch = *place_bucket(w, account, mailbox); watch != NULL; watch = watch->next) {
        if (watch->account == account && watch->mailbox == mailbox) {
            note(w, watch, what);
        }
    }
}

static void note_all(struct store_watches *w, bool only_accounts, uint32_t what)
{
    for (size_t b = 0; b < BUCKETS; b++) {
        for (struct watch *watch = w->by_place[b]; watch != NULL; watch = watch->next) {
            if (!only_accounts || watch->mailbox == 0) {
                note(w, watch, what);
            }
        }
    }
}

/* Those with whom the mailbox is shared. */
static void note_grantees(struct store *s, const struct touched *touched)
{
    struct acl_entry entries[ACL_ENTRIES_MAX];
    int count = acl_entries(s->index, touched->account, touched->mailbox, entries);
    if (count < 0) {
        note_all(s->watches, true, touched->what);
    }
    for (int i = 0; i < count; i++) {
        if (entries[i].grantee == ACL_ANYONE) {
            note_all(s->watches, true, touched->what);
        } else {
            note_place(s->watches, entries[i].grantee, 0, touched->what);
        }
    }
}

static void note_touched(struct store *s, const struct touched *touched)
{
    struct store_watches *w = s->watches;
    if (touched->account == 0) {
        note_all(w, true, touched->what);
        return;
    }
    if (touched->mailbox != 0) {
        note_place(w, touched->account, touched->mailbox, touched->what);
    }
    if (w->of_accounts > 0) {
        note_place(w, touched->account, 0, touched->what);
        if (touched->mailbox != 0) {
            note_grantees(s, touched);
        }
    }
}

static void tell(struct store *s, struct watch *watch)
{
    struct role_peer *peer = role_peer_find(s->role, ROLE_IMAPD, watch->instance);
    if (watch->mailbox == 0) {
        struct account_news news = {.ticket = watch->ticket, .news = (uint8_t)watch->due};
        role_send(peer, &account_news_type, &news);
    } else if (!watch->revoked) {
        struct mailbox_news news = {.ticket = watch->ticket};
        /* Even a lack of the right that is news itself is told, once. */
        watch->revoked = acl_reads(s->index, watch->watcher, watch->account, watch->mailbox) == 0;
        role_send(peer, &mailbox_news_type, &news);
    }
    watch->due = 0;
}

void store_watch_tell(struct store *s)
{
    const struct buf *touched = &s->index->touched;
    struct touched last = {.what = 0};
    if (!buf_ok(touched)) {
        note_all(s->watches, false, TOUCH_ANY);
    }
    for (size_t at = 0; at + sizeof(last) <= touched->len && buf_ok(touched); at += sizeof(last)) {
        struct touched one;
        memcpy(&one, touched->data + at, sizeof(one));
        /* Many messages to one mailbox are common. */
        if (one.account != last.account || one.mailbox != last.mailbox || one.what != last.what) {
            note_touched(s, &one);
        }
        last = one;
    }
    while (s->watches->due != NULL) {
        struct watch *watch = s->watches->due;
        s->watches->due = watch->next_due;
        tell(s, watch);
    }
}
