/*
 * Replaying what the log's events say of mailboxes: names, keywords, flags, what was expunged. While it goes on every message's
 * flags and modification sequence stand in its own row, as they were at that moment; at the end they are packed into pages. So an
 * event finds what it changes, and an absolute one (snapshot.h) puts it right, in whatever order messages come.
 */
#include "store/replay_private.h"

#include "store/acl.h"
#include "store/annotation.h"
#include "store/expunged.h"
#include "store/folder.h"

static int run_numbers(struct index *index, enum statement which, const uint64_t *numbers, int count)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    for (int i = 0; i < count; i++) {
        sql_int(q, i + 1, (int64_t)numbers[i]);
    }
    return sql_run(index, q);
}

static int run_text(struct index *index, enum statement which, const struct index_event *e)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, (int64_t)e->numbers[0]);
    sql_int(q, 2, (int64_t)e->numbers[1]);
    sql_text(q, 3, e->texts[0]);
    return sql_run(index, q);
}

static int replay_name(struct index *index, const struct index_event *e)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_REPLAY_MAILBOX_NAME);
    if (q == NULL || e->texts[0].len > FOLDER_NAME_MAX) {
        return q == NULL ? -1 : 0;
    }
    sql_int(q, 1, (int64_t)e->numbers[0]);
    sql_int(q, 2, (int64_t)e->numbers[1]);
    sql_text(q, 3, e->texts[0]);
    sql_int(q, 4, (int64_t)e->numbers[2]);
    return sql_run(index, q);
}

static int replay_gone(struct index *index, const struct index_event *e)
{
    struct mailbox mailbox = {.account = (int64_t)e->numbers[0], .id = (int64_t)e->numbers[1]};
    return folder_remove(index, &mailbox);
}

/* The same rule as flags_store's. */
static int replay_flags(struct index *index, const struct index_event *e)
{
    enum statement which = e->numbers[2] == FLAGS_REPLACE  ? SQL_REPLAY_FLAGS_REPLACE
                           : e->numbers[2] == FLAGS_REMOVE ? SQL_REPLAY_FLAGS_REMOVE
                                                           : SQL_REPLAY_FLAGS_ADD;
    uint64_t unchanged_since = e->numbers[4] > INT64_MAX ? INT64_MAX : e->numbers[4];
    struct str rest = e->texts[0];
    struct uid_range range;
    while (uid_ranges_next(&rest, &range)) {
        const uint64_t numbers[] = {e->numbers[0], e->numbers[1],   range.first,  range.last,
                                    e->numbers[3], unchanged_since, e->numbers[5]};
        if (run_numbers(index, which, numbers, sizeof(numbers) / sizeof(numbers[0])) != 0) {
            return -1;
        }
    }
    return 0;
}

static int replay_subscription(struct index *index, const struct index_event *e)
{
    return folder_subscribe(index, (int64_t)e->numbers[0], e->texts[0], e->numbers[1] != 0);
}

static int replay_annotation(struct index *index, const struct index_event *e)
{
    if (e->texts[0].len > ANNOTATION_ENTRY_MAX || e->texts[1].len > ANNOTATION_VALUE_MAX) {
        return 0;
    }
    return annotation_set(index, (int64_t)e->numbers[0], (int64_t)e->numbers[1], e->texts[0],
                          e->numbers[2] != 0 ? &e->texts[1] : NULL);
}

static int replay_acl(struct index *index, const struct index_event *e)
{
    const struct acl_entry entry = {
        .grantee = (int64_t)e->numbers[2], .negative = e->numbers[3] != 0, .rights = (uint32_t)e->numbers[4]};
    return acl_set(index, (int64_t)e->numbers[0], (int64_t)e->numbers[1], &entry) < 0 ? -1 : 0;
}

static int replay_expunged(struct index *index, const struct index_event *e)
{
    const uint64_t range[] = {e->numbers[0], e->numbers[1], e->numbers[2], e->numbers[2]};
    return run_numbers(index, SQL_MESSAGE_REMOVE, range, 4);
}

int replay_mailbox_event(struct index *index, const struct index_event *e)
{
    switch (e->kind) {
    case EVENT_MAILBOX: return run_numbers(index, SQL_REPLAY_MAILBOX, e->numbers, 6);
    case EVENT_MAILBOX_NAME: return replay_name(index, e);
    case EVENT_MAILBOX_GONE: return replay_gone(index, e);
    case EVENT_KEYWORDS:
        return e->texts[0].len > FLAGS_KEYWORDS_OCTETS ? 0 : run_text(index, SQL_MAILBOX_SET_KEYWORDS, e);
    case EVENT_ANNOTATION: return replay_annotation(index, e);
    case EVENT_ACL: return replay_acl(index, e);
    case EVENT_SUBSCRIPTION: return replay_subscription(index, e);
    case EVENT_FLAGS: return replay_flags(index, e);
    case EVENT_EXPUNGED: return replay_expunged(index, e);
    default: return 0;
    }
}

/* Counting. */

struct count {
    uint32_t unseen;
    uint32_t deleted;
};

static bool count_one(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct count *c = context;
    (void)uid;
    (void)modseq;
    c->unseen += (flags & FLAG_SEEN) == 0;
    c->deleted += (flags & FLAG_DELETED) != 0;
    return true;
}

static int collect(struct index *index, struct buf *rows)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_ALL);
    struct mailbox mailbox;
    if (q == NULL) {
        return -1;
    }
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        mailbox_read_row(q, &mailbox);
        buf_append(rows, &mailbox, sizeof(mailbox));
    }
    return index->error[0] == '\0' && buf_ok(rows) ? 0 : -1;
}

static int count_mailbox(struct index *index, struct mailbox *mailbox)
{
    struct count count = {0, 0};
    if (flags_each(index, mailbox, 1, 0, count_one, &count) != 0 || flags_fold(index, mailbox) != 0) {
        return -1;
    }
    mailbox->unseen = count.unseen;
    mailbox->deleted = count.deleted;
    return expunged_forgotten(index, mailbox) == 0 ? mailbox_set(index, mailbox) : -1;
}

int replay_count_mailboxes(struct index *index)
{
    struct buf rows = buf_make(SIZE_MAX / 2);
    struct mailbox mailbox;
    int result = collect(index, &rows);
    for (size_t at = 0; result == 0 && at < rows.len; at += sizeof(mailbox)) {
        memcpy(&mailbox, rows.data + at, sizeof(mailbox));
        result = count_mailbox(index, &mailbox);
    }
    buf_free(&rows);
    return result;
}
