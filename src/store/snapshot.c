/* Noting the whole state again; see snapshot.h. */
#include "store/snapshot.h"

#include "store/acl.h"
#include "store/entry.h"
#include "store/events.h"
#include "store/flags.h"

enum { AT_A_TIME = 200, ENTRIES_AT_A_TIME = 20 };

/* Each notes some rows; with the last of its table it goes to the next stage. 0, or -1. */
typedef int (*stage_function)(struct snapshot *s);

static int failed(const struct snapshot *s)
{
    return s->index->error[0] == '\0' ? 0 : -1;
}

static void next_stage(struct snapshot *s)
{
    s->stage++;
    s->account = 0;
    s->mailbox = 0;
    s->uid = 0;
    s->grantee = 0;
    s->negative = false;
    s->inside = false;
    s->text_len = 0;
    s->other_len = 0;
}

static void ended_after(struct snapshot *s, int count, int wanted)
{
    if (count < wanted) {
        next_stage(s);
    }
}

static void keep(char *area, size_t size, size_t *len, struct str text)
{
    *len = text.len < size ? text.len : size;
    memcpy(area, text.data, *len);
}

/* First of all, and in one transaction: where the rest of the log has been applied up to. */
static int note_segments(struct snapshot *s)
{
    static const char *const counters[] = {"next_account", "next_mailbox", "uid_validity", "next_segment"};
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    int count = segment_list(s->index, infos, SEGMENT_ROWS_MAX);
    for (int i = 0; i < count; i++) {
        events_segment(s->index, &infos[i]);
    }
    for (size_t i = 0; count >= 0 && i < sizeof(counters) / sizeof(counters[0]); i++) {
        int64_t value;
        if (index_meta_get(s->index, counters[i], 0, &value) != 0) {
            return -1;
        }
        if (value != 0) {
            events_counter(s->index, counters[i], value);
        }
    }
    next_stage(s);
    return count < 0 ? -1 : 0;
}

static int note_accounts(struct snapshot *s)
{
    struct account account;
    int count = 0;
    for (; count < AT_A_TIME; count++) {
        int found = account_next(s->index, s->account, &account);
        if (found < 0) {
            return -1;
        }
        if (found == 0) {
            break;
        }
        events_account(s->index, &account);
        s->account = account.id;
    }
    ended_after(s, count, AT_A_TIME);
    return 0;
}

struct alias_walk {
    struct snapshot *snapshot;
    int count;
};

static bool note_alias(void *context, struct str address, struct str target)
{
    struct alias_walk *walk = context;
    struct snapshot *s = walk->snapshot;
    events_alias(s->index, address, target);
    keep(s->text, sizeof(s->text), &s->text_len, address);
    keep(s->other, sizeof(s->other), &s->other_len, target);
    walk->count++;
    return true;
}

static int note_aliases(struct snapshot *s)
{
    struct alias_walk walk = {.snapshot = s};
    char after[FOLDER_NAME_MAX];
    char target[FOLDER_NAME_MAX];
    memcpy(after, s->text, s->text_len);
    memcpy(target, s->other, s->other_len);
    if (alias_list_after(s->index, str_make(after, s->text_len), str_make(target, s->other_len), AT_A_TIME,
                         note_alias, &walk) != 0) {
        return -1;
    }
    ended_after(s, walk.count, AT_A_TIME);
    return 0;
}

static sqlite3_stmt *mailboxes_after(struct snapshot *s, int max)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_SNAPSHOT_MAILBOX);
    if (q != NULL) {
        sql_int(q, 1, s->account);
        sql_int(q, 2, s->mailbox);
        sql_int(q, 3, max);
        s->index->error[0] = '\0';
    }
    return q;
}

static int note_mailboxes(struct snapshot *s)
{
    sqlite3_stmt *q = mailboxes_after(s, AT_A_TIME);
    struct mailbox mailbox;
    int count = 0;
    while (q != NULL && sql_row(s->index, q)) {
        mailbox_read_row(q, &mailbox);
        events_mailbox(s->index, &mailbox);
        events_mailbox_name(s->index, &mailbox, sql_get_text(q, 12));
        events_keywords(s->index, &mailbox, sql_get_text(q, 13));
        s->account = mailbox.account;
        s->mailbox = mailbox.id;
        count++;
    }
    if (q == NULL || failed(s) != 0) {
        return -1;
    }
    ended_after(s, count, AT_A_TIME);
    return 0;
}

static int note_subscriptions(struct snapshot *s)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_SNAPSHOT_SUBSCRIPTION);
    char after[FOLDER_NAME_MAX];
    int count = 0;
    if (q == NULL) {
        return -1;
    }
    memcpy(after, s->text, s->text_len);
    sql_int(q, 1, s->account);
    sql_text(q, 2, str_make(after, s->text_len));
    sql_int(q, 3, AT_A_TIME);
    s->index->error[0] = '\0';
    while (sql_row(s->index, q)) {
        s->account = sqlite3_column_int64(q, 0);
        keep(s->text, sizeof(s->text), &s->text_len, sql_get_text(q, 1));
        events_subscription(s->index, s->account, sql_get_text(q, 1), true);
        count++;
    }
    if (failed(s) != 0) {
        return -1;
    }
    ended_after(s, count, AT_A_TIME);
    return 0;
}

static int note_annotations(struct snapshot *s)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_SNAPSHOT_ANNOTATION);
    char after[FOLDER_NAME_MAX];
    int count = 0;
    if (q == NULL) {
        return -1;
    }
    memcpy(after, s->text, s->text_len);
    sql_int(q, 1, s->account);
    sql_int(q, 2, s->mailbox);
    sql_text(q, 3, str_make(after, s->text_len));
    sql_int(q, 4, ENTRIES_AT_A_TIME);
    s->index->error[0] = '\0';
    while (sql_row(s->index, q)) {
        const void *data = sqlite3_column_blob(q, 3);
        struct str value = data == NULL ? STR_EMPTY : str_make(data, (size_t)sqlite3_column_bytes(q, 3));
        s->account = sqlite3_column_int64(q, 0);
        s->mailbox = sqlite3_column_int64(q, 1);
        keep(s->text, sizeof(s->text), &s->text_len, sql_get_text(q, 2));
        events_annotation(s->index, s->account, s->mailbox, sql_get_text(q, 2), &value);
        count++;
    }
    if (failed(s) != 0) {
        return -1;
    }
    ended_after(s, count, ENTRIES_AT_A_TIME);
    return 0;
}

static int note_acls(struct snapshot *s)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_SNAPSHOT_ACL);
    int count = 0;
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, s->account);
    sql_int(q, 2, s->mailbox);
    sql_int(q, 3, s->grantee);
    sql_int(q, 4, s->negative);
    sql_int(q, 5, AT_A_TIME);
    s->index->error[0] = '\0';
    while (sql_row(s->index, q)) {
        s->account = sqlite3_column_int64(q, 0);
        s->mailbox = sqlite3_column_int64(q, 1);
        s->grantee = sqlite3_column_int64(q, 2);
        s->negative = sqlite3_column_int64(q, 3) != 0;
        struct acl_entry entry = {
            .grantee = s->grantee, .negative = s->negative, .rights = (uint32_t)sqlite3_column_int64(q, 4)};
        events_acl(s->index, s->account, s->mailbox, &entry);
        count++;
    }
    if (failed(s) != 0) {
        return -1;
    }
    ended_after(s, count, AT_A_TIME);
    return 0;
}

/* Messages: their rows, with the flags that they have now. */

struct messages {
    struct filed_event rows[AT_A_TIME];
    int count;
    int at;
};

static int read_messages(struct snapshot *s, struct messages *m)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_SNAPSHOT_MESSAGE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, s->account);
    sql_int(q, 2, s->mailbox);
    sql_int(q, 3, s->uid);
    sql_int(q, 4, AT_A_TIME);
    s->index->error[0] = '\0';
    while (m->count < AT_A_TIME && sql_row(s->index, q)) {
        struct filed_event *f = &m->rows[m->count++];
        *f = (struct filed_event){.account = s->account,
                                  .mailbox = s->mailbox,
                                  .uid = (uint32_t)sqlite3_column_int64(q, 0),
                                  .filing = {.recipient = (uint32_t)sqlite3_column_int64(q, 2),
                                             .size = (uint64_t)sqlite3_column_int64(q, 3),
                                             .internal_ms = (uint64_t)sqlite3_column_int64(q, 4),
                                             .saved_ms = (uint64_t)sqlite3_column_int64(q, 5)}};
        if (!sql_get_ident(q, 1, &f->filing.record)) {
            sql_done(q);
            return -1;
        }
    }
    sql_done(q);
    return failed(s);
}

static bool take_flags(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct messages *m = context;
    while (m->at < m->count && m->rows[m->at].uid < uid) {
        m->at++;
    }
    if (m->at < m->count && m->rows[m->at].uid == uid) {
        m->rows[m->at].filing.flags = flags;
        m->rows[m->at].filing.modseq = modseq;
    }
    return m->at < m->count;
}

/* Some of the mailbox that the snapshot is in. */
static int note_some_messages(struct snapshot *s)
{
    struct messages m = {.count = 0};
    struct mailbox mailbox;
    int found = mailbox_find(s->index, s->account, s->mailbox, &mailbox);
    if (found < 0 || read_messages(s, &m) != 0 ||
        (found == 1 && m.count > 0 &&
         flags_each(s->index, &mailbox, m.rows[0].uid, 0, take_flags, &m) != 0)) {
        return -1;
    }
    for (int i = 0; i < m.count; i++) {
        events_filed(s->index, &m.rows[i]);
        s->uid = m.rows[i].uid;
    }
    s->inside = m.count == AT_A_TIME;
    return 0;
}

static int note_messages(struct snapshot *s)
{
    if (s->inside) {
        return note_some_messages(s);
    }
    sqlite3_stmt *q = mailboxes_after(s, 1);
    struct mailbox mailbox;
    if (q == NULL) {
        return -1;
    }
    if (!sql_row(s->index, q)) {
        next_stage(s);
        return failed(s);
    }
    mailbox_read_row(q, &mailbox);
    sql_done(q);
    s->account = mailbox.account;
    s->mailbox = mailbox.id;
    s->uid = 0;
    return note_some_messages(s);
}

static int note_records(struct snapshot *s)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_SNAPSHOT_RECORD);
    struct ident after = s->record;
    int count = 0;
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, after.bytes, IDENT_SIZE);
    sql_int(q, 2, AT_A_TIME);
    s->index->error[0] = '\0';
    while (sql_row(s->index, q)) {
        if (!sql_get_ident(q, 0, &s->record)) {
            sql_done(q);
            return -1;
        }
        events_record(s->index, &s->record, sqlite3_column_int64(q, 1), sqlite3_column_int64(q, 2),
                      (uint32_t)sqlite3_column_int64(q, 3));
        count++;
    }
    if (failed(s) != 0) {
        return -1;
    }
    ended_after(s, count, AT_A_TIME);
    return 0;
}

static int note_entries(struct snapshot *s)
{
    static struct entry entries[ENTRIES_AT_A_TIME];
    int count = entry_list(s->index, s->entry, entries, ENTRIES_AT_A_TIME);
    for (int i = 0; i < count; i++) {
        events_entry(s->index, &entries[i]);
        s->entry = entries[i].id;
    }
    if (count < 0) {
        return -1;
    }
    ended_after(s, count, ENTRIES_AT_A_TIME);
    return 0;
}

/* Alone in its transaction: everything that it vouches for has been committed. */
static int note_floor(struct snapshot *s)
{
    const struct {
        const char *name;
        int64_t value;
    } counters[] = {{"events_floor", (int64_t)s->floor},
                    {"events_segment", s->segment},
                    {"events_snapshot", (int64_t)s->octets}};
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        events_counter(s->index, counters[i].name, counters[i].value);
        if (index_meta_set(s->index, counters[i].name, counters[i].value) != 0) {
            return -1;
        }
    }
    s->stage++;
    return 0;
}

static const stage_function stages[] = {note_segments,      note_accounts,    note_aliases, note_mailboxes,
                                        note_subscriptions, note_annotations, note_acls,    note_messages,
                                        note_records,       note_entries};
enum { STAGES = sizeof(stages) / sizeof(stages[0]) };

int snapshot_begin(struct snapshot *s, struct index *index, int64_t own)
{
    int64_t last = 0;
    int64_t next = 1;
    *s = (struct snapshot){.index = index};
    if (index_meta_get(index, "events", 0, &last) != 0 ||
        index_meta_get(index, "next_segment", 1, &next) != 0) {
        return -1;
    }
    s->floor = (uint64_t)last;
    s->segment = own != 0 ? own : next << 4; /* the part of the number that grows */
    return 0;
}

int snapshot_step(struct snapshot *s, uint64_t octets, bool *done)
{
    uint64_t before = s->index->events.len;
    int rounds = 0;
    *done = false;
    if (s->stage == STAGES) {
        *done = true;
        return note_floor(s);
    }
    while (s->stage < STAGES && s->index->events.len - before < octets && rounds++ < AT_A_TIME) {
        if (stages[s->stage](s) != 0) {
            return -1;
        }
    }
    s->octets += s->index->events.len - before;
    return 0;
}
