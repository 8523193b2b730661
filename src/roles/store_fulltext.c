/*
 * Full-text indexes (store/fulltext.h), built when the store has nothing else to do: of each mailbox that is large enough, the next
 * messages are read, given to the indexer, and what it answers goes into the account's file, in one transaction for some hundred of
 * them. While mail comes in or is changed that goes on for a tenth of the time. Part of the store role.
 *
 * An indexer that ends may have ended because of a message. From then on it gets one at a time, and the one with which it ends
 * again is noted as unknown: it is looked at by every search.
 */
#include "roles/store_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_fulltext.h"
#include "message/terms.h"
#include "store/account.h"
#include "store/fulltext.h"

#include <errno.h>
#include <string.h>

enum {
    BATCH = 256,  /* messages of a transaction; so many may be missing in a mailbox */
    AT_ONCE = 16, /* messages that the indexer has */
    AT_ONCE_OCTETS = 256 << 10,
    LOOK_ROWS = 200,
    LOOK_MS = 1000,
    BUSY_MS = 20,
    BUSY_TIMES = 20, /* then a step is taken all the same */
    QUIET_MS = 500,  /* since the last change of anything */
    REST = 9,        /* times as long as a step, for others, before that */
    REST_MAX_MS = 5000,
    FAILED_MS = 60000,
    CLEAN_MS = 10000,
    SEEN_SLOTS = 16384,
    DEAD_LEAST = 10000 /* documents of expunged messages that are borne in any case */
};

/* A message that the indexer has. */
struct document {
    uint32_t uid;
    uint64_t ticket;
};

/* A mailbox that has been looked at: up to where its index goes. */
struct seen {
    int64_t account;
    int64_t mailbox;
    uint32_t uid_validity;
    uint32_t place;
};

struct candidate {
    int64_t account;
    int64_t mailbox;
    uint32_t uid_validity;
    uint32_t uid_next;
};

struct store_fulltext {
    struct loop_timer timer;
    int64_t index_id;
    unsigned waited;
    bool found_work; /* in the pass over all mailboxes that is under way */
    uint64_t cleaned_ms;
    uint64_t added;
    bool idle;           /* the last whole pass found nothing to do */
    struct candidate at; /* of the pass; then the mailbox that is worked at */
    struct seen seen[SEEN_SLOTS];

    struct fulltext *file; /* NULL: no mailbox is worked at */
    bool in_transaction;
    bool tidying;
    bool exhausted; /* the mailbox has no further messages */
    size_t batched; /* messages of the transaction */
    uint32_t uid;   /* the last one that was read */
    uint32_t done;  /* the last one that is in the transaction, or before it */
    struct document flight[AT_ONCE];
    size_t flight_first;
    size_t flight_count;
    uint64_t sent_ms;
    uint64_t ticket;
    struct buf terms; /* of the first of them */
    struct buf octets;

    bool alone;
    struct {
        int64_t account;
        int64_t mailbox;
        uint32_t uid;
    } suspect;
};

static void step(void *context);

static void plan(struct store *s, uint64_t ms)
{
    loop_timer_start(s->role->loop, &s->fulltext->timer, ms, false, step, s);
}

/* How long others have the processor to themselves after a step that took so long; `least`: while nothing else goes on. */
static uint64_t rest(const struct store *s, uint64_t took_ms, uint64_t least)
{
    if (clock_monotonic_ms() > s->worked_ms + QUIET_MS) {
        return least;
    }
    uint64_t pause = REST * (took_ms + 1);
    return pause < REST_MAX_MS ? pause : REST_MAX_MS;
}

/* What has been looked at. */

static struct seen *seen_of(struct store_fulltext *f, const struct candidate *c)
{
    uint64_t hash =
        ((uint64_t)c->account * 0x9e3779b97f4a7c15ULL + (uint64_t)c->mailbox) * 0xc2b2ae3d27d4eb4fULL;
    return &f->seen[(hash >> 32) % SEEN_SLOTS];
}

static void note_seen(struct store_fulltext *f, const struct candidate *c, uint32_t place)
{
    *seen_of(f, c) = (struct seen){
        .account = c->account, .mailbox = c->mailbox, .uid_validity = c->uid_validity, .place = place};
}

static bool is_seen(struct store_fulltext *f, const struct candidate *c)
{
    const struct seen *seen = seen_of(f, c);
    return seen->account == c->account && seen->mailbox == c->mailbox &&
           seen->uid_validity == c->uid_validity && c->uid_next - 1 < seen->place + BATCH;
}

/* The end of a mailbox. */

static void leave(struct store_fulltext *f)
{
    if (f->file != NULL) {
        fulltext_rollback(f->file);
        fulltext_close(f->file);
    }
    f->file = NULL;
    f->in_transaction = false;
    f->tidying = false;
    f->flight_count = 0;
    buf_clear(&f->terms);
}

static void give_up(struct store *s, const char *what)
{
    struct store_fulltext *f = s->fulltext;
    int code = f->file->code & 0xff;
    log_warning("the full-text index of account %lld %s: %s; searches read the messages meanwhile",
                (long long)f->at.account, what, f->file->error);
    leave(f);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        fulltext_remove(f->at.account);
        memset(f->seen, 0, sizeof(f->seen));
    }
}

/* Which mailbox is next. */

static struct fulltext *open_file(struct store *s, int64_t account)
{
    struct buf errors = buf_make(1024);
    struct fulltext *file = fulltext_open_writer(account, s->fulltext->index_id, &errors);
    if (file == NULL) {
        log_warning("a full-text index cannot be opened: %.*s", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    return file;
}

/* Whether most of what the file knows is gone. */
static bool is_mostly_dead(struct store *s, struct fulltext *file, int64_t account)
{
    struct account owner;
    int64_t documents = fulltext_documents(file);
    return account_by_id(s->index, account, &owner) == 1 && documents > 2 * owner.used_messages + DEAD_LEAST;
}

/* True: the mailbox is worked at from now on. */
static bool begin_mailbox(struct store *s, const struct candidate *c)
{
    struct store_fulltext *f = s->fulltext;
    uint32_t place = 0;
    f->file = open_file(s, c->account);
    if (f->file != NULL && is_mostly_dead(s, f->file, c->account)) {
        leave(f);
        fulltext_remove(c->account);
        memset(f->seen, 0, sizeof(f->seen));
        f->file = open_file(s, c->account);
    }
    if (f->file == NULL) {
        return false;
    }
    if (fulltext_place(f->file, c->mailbox, c->uid_validity, &place) != 0) {
        give_up(s, "cannot be read");
        return false;
    }
    note_seen(f, c, place);
    if (is_seen(f, c)) {
        leave(f);
        return false;
    }
    f->uid = place;
    f->done = place;
    f->exhausted = false;
    return true;
}

/* Looks at some mailboxes. *end: they were the last. False: the index cannot be read. */
static bool look(struct store *s, bool *end)
{
    struct store_fulltext *f = s->fulltext;
    struct candidate rows[LOOK_ROWS];
    int count = 0;
    sqlite3_stmt *q = sql_prepare(s->index, SQL_MAILBOX_LARGE);
    if (q == NULL) {
        return false;
    }
    sql_int(q, 1, f->at.account);
    sql_int(q, 2, f->at.mailbox);
    sql_int(q, 3, s->config->store.full_text_from);
    sql_int(q, 4, LOOK_ROWS);
    while (count < LOOK_ROWS && sql_row(s->index, q)) {
        rows[count++] = (struct candidate){.account = sqlite3_column_int64(q, 0),
                                           .mailbox = sqlite3_column_int64(q, 1),
                                           .uid_validity = (uint32_t)sqlite3_column_int64(q, 2),
                                           .uid_next = (uint32_t)sqlite3_column_int64(q, 3)};
    }
    sql_done(q);
    for (int i = 0; i < count; i++) {
        f->at = rows[i];
        if (!is_seen(f, &rows[i])) {
            f->found_work = begin_mailbox(s, &rows[i]) || f->found_work;
            return true; /* a file was opened: enough for one step */
        }
    }
    *end = count < LOOK_ROWS;
    return true;
}

static bool remove_if_nobodys(void *context, int64_t account)
{
    struct store *s = context;
    struct account owner;
    if (account_by_id(s->index, account, &owner) == 0) {
        fulltext_remove(account);
    }
    return true;
}

/* Files of accounts that are gone go too. The first time this makes the folder. */
static void clean(struct store *s)
{
    struct store_fulltext *f = s->fulltext;
    uint64_t now = clock_monotonic_ms();
    if (now < f->cleaned_ms) {
        return;
    }
    f->cleaned_ms = now + CLEAN_MS;
    if (fulltext_each_file(remove_if_nobodys, s) != 0) {
        log_warning("the folder of the full-text indexes cannot be used: %s", strerror(errno));
    }
}

static void end_pass(struct store *s)
{
    struct store_fulltext *f = s->fulltext;
    f->idle = !f->found_work;
    f->found_work = false;
    f->at = (struct candidate){.account = 0};
    clean(s);
}

/* Messages on their way to the indexer. */

static bool add_unknown(struct store *s, uint32_t uid)
{
    struct store_fulltext *f = s->fulltext;
    if (fulltext_add_unknown(f->file, f->at.mailbox, uid) != 0) {
        return false;
    }
    f->batched++;
    f->done = uid;
    return true;
}

static bool is_suspect(const struct store_fulltext *f, uint32_t uid)
{
    return f->suspect.uid == uid && f->suspect.mailbox == f->at.mailbox &&
           f->suspect.account == f->at.account;
}

/* False: it cannot be read. */
static bool send_message(struct store *s, struct role_peer *indexer, const struct message_place *place)
{
    struct store_fulltext *f = s->fulltext;
    uint64_t at = 0;
    f->ticket++;
    do {
        buf_clear(&f->octets);
        if (place->size > 0 &&
            (!message_read(&s->segments, place, at, IPC_CHUNK_MAX, &f->octets) || f->octets.len == 0)) {
            return false;
        }
        at += f->octets.len;
        struct fulltext_octets piece = {
            .ticket = f->ticket, .last = at >= place->size, .octets = buf_str(&f->octets)};
        if (!role_send(indexer, &fulltext_octets_type, &piece)) {
            return false;
        }
    } while (at < place->size);
    return true;
}

/*
 * One message of the mailbox. One that the indexer does not get waits until those before it are in the transaction; f->uid then
 * stays before it. False: the transaction has failed.
 */
static bool take_message(struct store *s, struct role_peer *indexer, uint32_t uid,
                         const struct message_place *place)
{
    struct store_fulltext *f = s->fulltext;
    bool sent = place->size <= FULLTEXT_MESSAGE_MAX && !is_suspect(f, uid) && send_message(s, indexer, place);
    if (sent) {
        f->flight[f->flight_count++] = (struct document){.uid = uid, .ticket = f->ticket};
    }
    f->uid = sent || f->flight_count == 0 ? uid : uid - 1;
    return sent || f->flight_count > 0 || add_unknown(s, uid);
}

/* The next messages, as many as the indexer is given at once. False: something has failed. */
static bool send_some(struct store *s, struct role_peer *indexer)
{
    struct store_fulltext *f = s->fulltext;
    struct message_place place;
    size_t most = f->alone ? 1 : AT_ONCE;
    uint64_t octets = 0;
    bool fine = true;
    bool row = false;
    sqlite3_stmt *q = sql_prepare(s->index, SQL_MESSAGE_READ);
    if (q == NULL) {
        return false;
    }
    f->flight_first = 0;
    f->sent_ms = clock_monotonic_ms();
    sql_int(q, 1, f->at.account);
    sql_int(q, 2, f->at.mailbox);
    sql_int(q, 3, (int64_t)f->uid + 1);
    sql_int(q, 4, (int64_t)f->at.uid_next - 1);
    s->index->error[0] = '\0';
    while (fine && f->flight_count < most && octets < AT_ONCE_OCTETS && (row = sql_row(s->index, q))) {
        uint32_t uid = (uint32_t)sqlite3_column_int64(q, 0);
        place.recipient = (uint32_t)sqlite3_column_int64(q, 2);
        place.size = (uint64_t)sqlite3_column_int64(q, 3);
        place.segment = sqlite3_column_int64(q, 6);
        place.offset = sqlite3_column_int64(q, 7);
        place.octets = (uint32_t)sqlite3_column_int64(q, 8);
        octets += place.size;
        fine = sql_get_ident(q, 1, &place.id) && take_message(s, indexer, uid, &place);
        if (f->uid != uid || f->batched >= BATCH) {
            break; /* it waits for those before it, or for the next transaction */
        }
    }
    f->exhausted = !row;
    sql_done(q);
    return fine && s->index->error[0] == '\0';
}

/* What the indexer says. */

static void take_document(struct store *s, bool known)
{
    struct store_fulltext *f = s->fulltext;
    uint32_t uid = f->flight[f->flight_first].uid;
    bool fine = known && buf_ok(&f->terms)
                    ? fulltext_add(f->file, f->at.mailbox, uid, buf_str(&f->terms)) == 0
                    : fulltext_add_unknown(f->file, f->at.mailbox, uid) == 0;
    buf_clear(&f->terms);
    f->flight_first++;
    f->flight_count--;
    if (!fine) {
        give_up(s, "cannot be written");
        plan(s, FAILED_MS);
        return;
    }
    f->batched++;
    f->added++;
    f->done = uid;
    if (f->flight_count == 0) {
        plan(s, rest(s, clock_monotonic_ms() - f->sent_ms, 1));
    }
}

void store_fulltext_message(struct store *s, const struct fulltext_terms *terms)
{
    struct store_fulltext *f = s->fulltext;
    if (f->flight_count == 0 || f->flight[f->flight_first].ticket != terms->ticket) {
        return; /* of a mailbox that was left */
    }
    buf_append_str(&f->terms, terms->terms);
    if (terms->last) {
        take_document(s, terms->known);
    }
}

void store_fulltext_peer_down(struct store *s)
{
    struct store_fulltext *f = s->fulltext;
    if (f == NULL || f->flight_count == 0) {
        return;
    }
    if (f->alone) {
        f->suspect.account = f->at.account;
        f->suspect.mailbox = f->at.mailbox;
        f->suspect.uid = f->flight[f->flight_first].uid;
        log_warning(
            "the indexer has ended twice at message %u of account %lld: it is left out of the full-text "
            "index",
            f->suspect.uid, (long long)f->at.account);
    }
    f->alone = true;
    leave(f);
    f->at = (struct candidate){.account = 0};
    plan(s, LOOK_MS);
}

/* Steps. */

/* The transaction has all that it is to have. */
static bool is_whole(const struct store_fulltext *f)
{
    return f->flight_count == 0 && (f->batched >= BATCH || f->exhausted || (f->alone && f->batched > 0));
}

/* False: it failed for good. */
static bool commit(struct store *s)
{
    struct store_fulltext *f = s->fulltext;
    uint32_t place = f->exhausted ? f->at.uid_next - 1 : f->done;
    if (fulltext_set_place(f->file, f->at.mailbox, f->at.uid_validity, place) != 0) {
        return false;
    }
    if (fulltext_commit(f->file) != 0) {
        return (f->file->code & 0xff) == SQLITE_BUSY; /* somebody is reading: next time */
    }
    f->in_transaction = false;
    f->tidying = true;
    f->alone = f->alone && f->batched < BATCH && !f->exhausted;
    note_seen(f, &f->at, place);
    return true;
}

static bool go_on(struct store *s, struct role_peer *indexer)
{
    struct store_fulltext *f = s->fulltext;
    bool more = false;
    if (f->tidying) {
        if (fulltext_tidy(f->file, &more) != 0 && (f->file->code & 0xff) != SQLITE_BUSY) {
            return false;
        }
        f->tidying = more;
        if (!more && f->exhausted) {
            leave(f);
        }
        return true;
    }
    if (!f->in_transaction) {
        f->batched = 0;
        f->in_transaction = fulltext_begin(f->file) == 0;
        return f->in_transaction;
    }
    if (is_whole(f)) {
        return commit(s);
    }
    return f->flight_count > 0 || send_some(s, indexer);
}

static bool is_busy(struct store *s)
{
    struct store_fulltext *f = s->fulltext;
    bool busy = (s->requests != NULL || store_segments_pending(s)) && f->waited < BUSY_TIMES;
    f->waited = busy ? f->waited + 1 : 0;
    return busy;
}

/* Milliseconds until the next step. */
static uint64_t take_step(struct store *s, struct role_peer *indexer)
{
    struct store_fulltext *f = s->fulltext;
    uint64_t began = clock_monotonic_ms();
    bool end = false;
    if (f->file == NULL) {
        if (!look(s, &end)) {
            return FAILED_MS;
        }
        if (end) {
            end_pass(s);
            return LOOK_MS;
        }
    } else if (!go_on(s, indexer)) {
        give_up(s, "cannot be written");
        return FAILED_MS;
    }
    /* The answer of the indexer, if there is one to come, plans the next step. */
    uint64_t took = clock_monotonic_ms() - began;
    return f->flight_count > 0 ? LOOK_MS : rest(s, took, took + 1);
}

static void step(void *context)
{
    struct store *s = context;
    struct role_peer *indexer = role_peer_of(s->role, ROLE_INDEXER);
    if (s->config->store.full_text_from == 0 || !s->accepting || indexer == NULL) {
        leave(s->fulltext);
        plan(s, LOOK_MS);
    } else if (is_busy(s)) {
        plan(s, BUSY_MS);
    } else {
        plan(s, take_step(s, indexer));
    }
}

/* Life. */

struct store_fulltext *store_fulltext_new(struct store *s)
{
    struct store_fulltext *f = mem_new(struct store_fulltext);
    if (f == NULL || store_begin(s) == false) {
        mem_free(f);
        return NULL;
    }
    f->terms = buf_make((size_t)TERMS_MAX * TERM_SIZE_MAX);
    f->octets = buf_make(IPC_CHUNK_MAX);
    if (fulltext_index_id(s->index, &f->index_id) != 0 || !store_commit(s)) {
        mem_free(f);
        return NULL;
    }
    return f;
}

void store_fulltext_start(struct store *s)
{
    clean(s);
    plan(s, LOOK_MS);
}

void store_fulltext_end(struct store *s)
{
    struct store_fulltext *f = s->fulltext;
    if (f != NULL) {
        loop_timer_stop(&f->timer);
        leave(f);
        buf_free(&f->terms);
        buf_free(&f->octets);
        mem_free(f);
        s->fulltext = NULL;
    }
}

void store_fulltext_figures(const struct store *s, uint64_t *added, bool *idle)
{
    *added = s->fulltext->added;
    *idle = s->fulltext->idle && s->fulltext->file == NULL;
}
