/* Mailboxes by name; see folder.h. */
#include "store/folder.h"
#include "store/account.h"
#include "store/acl.h"
#include "store/annotation.h"
#include "store/events.h"
#include "store/flags.h"
#include "store/move.h"

int folder_find(struct index *index, int64_t account, struct str name, struct mailbox *mailbox)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_BY_NAME);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    sql_text(q, 2, name);
    index->error[0] = '\0';
    if (!sql_row(index, q)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    mailbox_read_row(q, mailbox);
    sql_done(q);
    return 1;
}

int folder_name(struct index *index, const struct mailbox *mailbox, struct buf *name)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_TEXTS);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    index->error[0] = '\0';
    if (!sql_row(index, q)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    bool fine = buf_append_str(name, sql_get_text(q, 0));
    sql_done(q);
    return fine ? 1 : -1;
}

int folder_list(struct index *index, int64_t account,
                bool (*each)(void *context, const struct mailbox *mailbox, struct str name,
                             struct str keywords),
                void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_LIST);
    struct mailbox mailbox;
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        mailbox_read_row(q, &mailbox);
        if (!each(context, &mailbox, sql_get_text(q, 12), sql_get_text(q, 13))) {
            sql_done(q);
            return 0;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int folder_subscriptions(struct index *index, int64_t account, bool (*each)(void *context, struct str name),
                         void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_SUBSCRIPTION_LIST);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (!each(context, sql_get_text(q, 0))) {
            sql_done(q);
            return 0;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

void folder_object_id(const struct mailbox *mailbox, unsigned char id[MAILBOX_OBJECT_ID])
{
    for (int i = 0; i < 8; i++) {
        id[i] = (unsigned char)((uint64_t)mailbox->account >> (56 - 8 * i));
        id[8 + i] = (unsigned char)((uint64_t)mailbox->id >> (56 - 8 * i));
    }
}

/* Making. */

struct counting {
    size_t count;
};

static bool count_one(void *context, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    struct counting *c = context;
    (void)mailbox;
    (void)name;
    (void)keywords;
    c->count++;
    return true;
}

/* A UIDVALIDITY never comes twice, even if a name is used again within a second or the clock goes back. */
static int next_numbers(struct index *index, uint64_t wall_ms, int64_t *mailbox, int64_t *uid_validity)
{
    if (index_meta_get(index, "next_mailbox", MAILBOX_INBOX + 1, mailbox) != 0 ||
        index_meta_get(index, "uid_validity", 0, uid_validity) != 0) {
        return -1;
    }
    int64_t now = (int64_t)(wall_ms / 1000);
    *uid_validity = now > *uid_validity ? now : *uid_validity + 1;
    if (index_meta_set(index, "next_mailbox", *mailbox + 1) != 0 ||
        index_meta_set(index, "uid_validity", *uid_validity) != 0) {
        return -1;
    }
    events_counter(index, "next_mailbox", *mailbox + 1);
    events_counter(index, "uid_validity", *uid_validity);
    return 0;
}

static int inherit(struct index *index, const struct mailbox *mailbox, struct str name)
{
    struct mailbox parent;
    size_t slash = str_find_last(name, '/');
    int found =
        slash == SIZE_MAX ? 0 : folder_find(index, mailbox->account, str_sub(name, 0, slash), &parent);
    return found == 1 ? acl_copy(index, mailbox->account, parent.id, mailbox->id) : found;
}

static enum folder_result create_one(struct index *index, int64_t account, struct str name,
                                     uint32_t special_use, uint64_t wall_ms, struct mailbox *mailbox)
{
    struct account row;
    struct counting counting = {0};
    int64_t id;
    int64_t uid_validity;
    if (account_by_id(index, account, &row) != 1 || folder_list(index, account, count_one, &counting) != 0) {
        return FOLDER_ERROR;
    }
    if (counting.count >= FOLDERS_MAX) {
        return FOLDER_LIMIT;
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_ADD);
    if (q == NULL || next_numbers(index, wall_ms, &id, &uid_validity) != 0) {
        return FOLDER_ERROR;
    }
    sql_int(q, 1, account);
    sql_int(q, 2, id);
    sql_text(q, 3, name);
    sql_int(q, 4, uid_validity);
    sql_int(q, 5, (int64_t)row.modseq + 1);
    sql_int(q, 6, special_use);
    if (sql_run(index, q) != 0 || account_count(index, account, 0, 0, row.modseq + 1) != 0 ||
        mailbox_find(index, account, id, mailbox) != 1) {
        return FOLDER_ERROR;
    }
    events_mailbox(index, mailbox);
    events_mailbox_name(index, mailbox, name);
    index_touch(index, account, id, TOUCH_NAMES);
    return inherit(index, mailbox, name) == 0 ? FOLDER_DONE : FOLDER_ERROR;
}

/* Makes what is missing above a name. */
static enum folder_result create_parents(struct index *index, int64_t account, struct str name,
                                         uint64_t wall_ms)
{
    struct mailbox parent;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] != '/') {
            continue;
        }
        int found = folder_find(index, account, str_sub(name, 0, i), &parent);
        enum folder_result result = found == 0
                                        ? create_one(index, account, str_sub(name, 0, i), 0, wall_ms, &parent)
                                    : found < 0 ? FOLDER_ERROR
                                                : FOLDER_DONE;
        if (result != FOLDER_DONE) {
            return result;
        }
    }
    return FOLDER_DONE;
}

enum folder_result folder_create(struct index *index, int64_t account, struct str name, uint32_t special_use,
                                 uint64_t wall_ms, struct mailbox *mailbox)
{
    int found = name.len > FOLDER_NAME_MAX ? 0 : folder_find(index, account, name, mailbox);
    if (found != 0) {
        return found < 0 ? FOLDER_ERROR : FOLDER_EXISTS;
    }
    if (name.len == 0 || name.len > FOLDER_NAME_MAX || is_other_users(name)) {
        return FOLDER_CANNOT;
    }
    enum folder_result result = create_parents(index, account, name, wall_ms);
    return result == FOLDER_DONE ? create_one(index, account, name, special_use, wall_ms, mailbox) : result;
}

int folder_adopt(struct index *index, struct mailbox *mailbox, uint32_t uid_validity)
{
    int64_t highest;
    if (uid_validity == mailbox->uid_validity) {
        return 1;
    }
    if (uid_validity == 0 || mailbox->uid_next != 1 || mailbox->messages != 0) {
        return 0;
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_SET_VALIDITY);
    if (q == NULL || index_meta_get(index, "uid_validity", 0, &highest) != 0) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, uid_validity);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    mailbox->uid_validity = uid_validity;
    events_mailbox(index, mailbox);
    index_touch(index, mailbox->account, mailbox->id, TOUCH_NAMES);
    if (highest < uid_validity) {
        events_counter(index, "uid_validity", uid_validity);
        return index_meta_set(index, "uid_validity", uid_validity) == 0 ? 1 : -1;
    }
    return 1;
}

/* Renaming. */

static int set_name(struct index *index, const struct mailbox *mailbox, struct str name)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_SET_NAME);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_text(q, 3, name);
    events_mailbox_name(index, mailbox, name);
    index_touch(index, mailbox->account, mailbox->id, TOUCH_NAMES);
    return sql_run(index, q);
}

/* The mailboxes below a name, with their names, as they are before the first of them is renamed. */
struct below {
    struct str parent;
    struct buf names;     /* each ended by NUL, which no name holds */
    struct buf mailboxes; /* struct mailbox */
};

static bool collect_below(void *context, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    struct below *b = context;
    (void)keywords;
    if (name.len > b->parent.len && name.data[b->parent.len] == '/' && str_starts(name, b->parent)) {
        buf_append_str(&b->names, name);
        buf_append_char(&b->names, '\0');
        buf_append(&b->mailboxes, mailbox, sizeof(*mailbox));
    }
    return true;
}

static bool renamed_name(struct str name, struct str from, struct str to, struct buf *renamed)
{
    buf_clear(renamed);
    return to.len + name.len - from.len <= FOLDER_NAME_MAX && buf_append_str(renamed, to) &&
           buf_append_str(renamed, str_from(name, from.len));
}

/* Only looks: a rename is made whole or not at all. Renames, too, with `now`. */
static enum folder_result rename_each(struct index *index, int64_t account, const struct below *below,
                                      struct str to, bool now)
{
    struct str names = buf_str(&below->names);
    struct str name;
    for (size_t at = 0; at < below->mailboxes.len && str_split(&names, '\0', &name);
         at += sizeof(struct mailbox)) {
        struct mailbox mailbox;
        struct mailbox other;
        char area[FOLDER_NAME_MAX];
        struct buf renamed = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if (!renamed_name(name, below->parent, to, &renamed)) {
            return FOLDER_CANNOT;
        }
        memcpy(&mailbox, below->mailboxes.data + at, sizeof(mailbox));
        int taken = now ? set_name(index, &mailbox, buf_str(&renamed))
                        : folder_find(index, account, buf_str(&renamed), &other);
        if (taken != 0) {
            return taken < 0 ? FOLDER_ERROR : FOLDER_EXISTS;
        }
    }
    return FOLDER_DONE;
}

static enum folder_result rename_all(struct index *index, int64_t account, const struct mailbox *source,
                                     struct str from, struct str to, uint64_t wall_ms)
{
    struct below below = {.parent = from,
                          .names = buf_make((size_t)FOLDERS_MAX * (FOLDER_NAME_MAX + 1)),
                          .mailboxes = buf_make((size_t)FOLDERS_MAX * sizeof(struct mailbox))};
    enum folder_result result = FOLDER_ERROR;
    if (folder_list(index, account, collect_below, &below) == 0 && buf_ok(&below.names) &&
        buf_ok(&below.mailboxes)) {
        result = rename_each(index, account, &below, to, false);
    }
    if (result == FOLDER_DONE) {
        result = create_parents(index, account, to, wall_ms);
    }
    if (result == FOLDER_DONE) {
        result =
            set_name(index, source, to) == 0 ? rename_each(index, account, &below, to, true) : FOLDER_ERROR;
    }
    buf_free(&below.names);
    buf_free(&below.mailboxes);
    return result;
}

enum folder_result folder_rename(struct index *index, int64_t account, struct str from, struct str to,
                                 uint64_t wall_ms)
{
    struct mailbox source;
    struct mailbox other;
    int found = folder_find(index, account, from, &source);
    int taken = found == 1 ? folder_find(index, account, to, &other) : 0;
    if (found < 0 || taken < 0) {
        return FOLDER_ERROR;
    }
    if (found == 0 || taken == 1) {
        return found == 0 ? FOLDER_MISSING : FOLDER_EXISTS;
    }
    if (to.len == 0 || to.len > FOLDER_NAME_MAX || is_other_users(to)) {
        return FOLDER_CANNOT;
    }
    if (source.id != MAILBOX_INBOX) {
        return rename_all(index, account, &source, from, to, wall_ms);
    }
    enum folder_result result = create_parents(index, account, to, wall_ms);
    if (result == FOLDER_DONE) {
        result = create_one(index, account, to, 0, wall_ms, &other);
    }
    /* RFC 5464, section 4.1: the new mailbox gets a copy of INBOX's annotations. */
    bool failed = result == FOLDER_DONE && (move_all(index, &source, &other, wall_ms) != 0 ||
                                            annotation_copy(index, account, source.id, other.id) != 0);
    return failed ? FOLDER_ERROR : result;
}

/* Removing. */

int folder_remove(struct index *index, const struct mailbox *mailbox)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_REMOVE);
    if (q == NULL || flags_forget(index, mailbox->account, mailbox->id) != 0 ||
        annotation_forget(index, mailbox->account, mailbox->id) != 0 ||
        acl_forget(index, mailbox->account, mailbox->id) != 0) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    events_mailbox_gone(index, mailbox->account, mailbox->id);
    index_touch(index, mailbox->account, mailbox->id, TOUCH_NAMES);
    return sql_run(index, q);
}

enum folder_result folder_delete(struct index *index, int64_t account, struct str name)
{
    struct mailbox mailbox;
    int found = folder_find(index, account, name, &mailbox);
    if (found <= 0) {
        return found == 0 ? FOLDER_MISSING : FOLDER_ERROR;
    }
    if (mailbox.id == MAILBOX_INBOX) {
        return FOLDER_CANNOT;
    }
    if (expunge_all(index, &mailbox) != 0 || folder_remove(index, &mailbox) != 0) {
        return FOLDER_ERROR;
    }
    return FOLDER_DONE;
}

int folder_subscribe(struct index *index, int64_t account, struct str name, bool subscribed)
{
    sqlite3_stmt *q = sql_prepare(index, subscribed ? SQL_SUBSCRIPTION_ADD : SQL_SUBSCRIPTION_REMOVE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    sql_text(q, 2, name);
    events_subscription(index, account, name, subscribed);
    index_touch(index, account, 0, TOUCH_NAMES);
    return sql_run(index, q);
}
