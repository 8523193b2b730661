/* Accounts and aliases; see account.h. */
#include "store/account.h"

#include "message/lookalike.h"
#include "message/path.h"
#include "store/acl.h"
#include "store/events.h"
#include "store/flags.h"

#include <utf8proc.h>

#include <stdlib.h>

static bool fold_unicode(struct str s, struct buf *out)
{
    utf8proc_uint8_t *folded = NULL;
    utf8proc_ssize_t len = utf8proc_map(
        (const utf8proc_uint8_t *)s.data, (utf8proc_ssize_t)s.len, &folded,
        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_REJECTNA));
    bool fine = len > 0 && buf_append(out, folded, (size_t)len);
    free(folded);
    return fine;
}

bool address_lookup_form(struct str address, struct buf *out)
{
    char area[1024];
    struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct str local;
    struct str domain;
    if (address_normalize(address, &normal) != PATH_OK || !address_split(buf_str(&normal), &local, &domain)) {
        return false;
    }
    if (!str_is_ascii(local)) {
        return fold_unicode(local, out) && buf_append_char(out, '@') && buf_append_str(out, domain);
    }
    for (size_t i = 0; i < local.len; i++) {
        area[i] = ascii_lower(area[i]);
    }
    return buf_append_str(out, buf_str(&normal));
}

static bool read_account(sqlite3_stmt *q, struct account *account)
{
    struct str address = sql_get_text(q, 1);
    struct str verifier = sql_get_text(q, 2);
    if (address.len > sizeof(account->address) || verifier.len > sizeof(account->verifier)) {
        return false;
    }
    account->id = sqlite3_column_int64(q, 0);
    account->state = sqlite3_column_int64(q, 3) == ACCOUNT_ACTIVE ? ACCOUNT_ACTIVE : ACCOUNT_DISABLED;
    account->quota = sqlite3_column_int64(q, 4);
    account->used_octets = sqlite3_column_int64(q, 5);
    account->used_messages = sqlite3_column_int64(q, 6);
    account->created_ms = (uint64_t)sqlite3_column_int64(q, 7);
    account->modseq = (uint64_t)sqlite3_column_int64(q, 8);
    account->address_len = address.len;
    account->verifier_len = verifier.len;
    memcpy(account->address, address.data, address.len);
    memcpy(account->verifier, verifier.data, verifier.len);
    return true;
}

static int one_account(struct index *index, sqlite3_stmt *q, struct account *account)
{
    index->error[0] = '\0';
    if (!sql_row(index, q)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    bool fine = read_account(q, account);
    sql_done(q);
    return fine ? 1 : -1;
}

int account_find(struct index *index, struct str address, struct account *account)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_FIND);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, address);
    return one_account(index, q, account);
}

int account_by_id(struct index *index, int64_t id, struct account *account)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_BY_ID);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    return one_account(index, q, account);
}

int account_first(struct index *index, struct account *account)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_FIRST);
    return q == NULL ? -1 : one_account(index, q, account);
}

int account_next(struct index *index, int64_t after, struct account *account)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_SNAPSHOT_ACCOUNT);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, after);
    return one_account(index, q, account);
}

int account_add(struct index *index, struct str address, struct str verifier, int64_t quota, uint64_t wall_ms,
                struct account *account)
{
    int64_t id = 1;
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_ADD);
    if (q == NULL || verifier.len > ACCOUNT_VERIFIER_MAX || address.len > ACCOUNT_ADDRESS_MAX ||
        index_meta_get(index, "next_account", 1, &id) != 0 ||
        index_meta_set(index, "next_account", id + 1) != 0) {
        return -1;
    }
    sql_text(q, 1, address);
    sql_text(q, 2, verifier);
    sql_int(q, 3, quota);
    sql_int(q, 4, (int64_t)wall_ms);
    sql_int(q, 5, id);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    q = sql_prepare(index, SQL_MAILBOX_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, MAILBOX_INBOX);
    sql_text(q, 3, STR("INBOX"));
    /* Seconds since 1970 keep growing, so a mailbox made again never repeats a UIDVALIDITY (RFC 3501, section 2.3.1.1). */
    sql_int(q, 4, (int64_t)(wall_ms / 1000));
    sql_int(q, 5, 1);
    sql_int(q, 6, 0);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    struct mailbox inbox;
    if (account_by_id(index, id, account) != 1 || mailbox_find(index, id, MAILBOX_INBOX, &inbox) != 1) {
        return -1;
    }
    events_counter(index, "next_account", id + 1);
    events_account(index, account);
    events_mailbox(index, &inbox);
    return 0;
}

/* After a change of its row. */
static int note_account(struct index *index, int64_t id)
{
    struct account account;
    int found = index->noting ? account_by_id(index, id, &account) : 0;
    if (found == 1) {
        events_account(index, &account);
    }
    return found < 0 ? -1 : 0;
}

static int set_number(struct index *index, enum statement which, int64_t id, int64_t value)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, value);
    return sql_run(index, q);
}

int account_set_verifier(struct index *index, int64_t id, struct str verifier)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_SET_VERIFIER);
    if (q == NULL || verifier.len > ACCOUNT_VERIFIER_MAX) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_text(q, 2, verifier);
    return sql_run(index, q) == 0 ? note_account(index, id) : -1;
}

int account_set_quota(struct index *index, int64_t id, int64_t quota)
{
    return set_number(index, SQL_ACCOUNT_SET_QUOTA, id, quota) == 0 ? note_account(index, id) : -1;
}

int account_set_state(struct index *index, int64_t id, enum account_state state)
{
    return set_number(index, SQL_ACCOUNT_SET_STATE, id, state) == 0 ? note_account(index, id) : -1;
}

int account_count(struct index *index, int64_t id, int64_t octets, int64_t messages, uint64_t modseq)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_SET_USED);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, octets);
    sql_int(q, 3, messages);
    sql_int(q, 4, (int64_t)modseq);
    return sql_run(index, q);
}

/* One by one: an account's event alone does not say what led to it. */
static int note_aliases_gone(struct index *index, struct str target)
{
    sqlite3_stmt *q = index->noting ? sql_prepare(index, SQL_ALIAS_OF_TARGET) : NULL;
    if (q == NULL) {
        return index->noting ? -1 : 0;
    }
    sql_text(q, 1, target);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        events_alias_gone(index, sql_get_text(q, 0), target);
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int account_remove(struct index *index, const struct account *account)
{
    sqlite3_stmt *aliases = sql_prepare(index, SQL_ALIAS_REMOVE_TARGET);
    sqlite3_stmt *mailboxes = sql_prepare(index, SQL_MAILBOX_REMOVE_ALL);
    sqlite3_stmt *subscriptions = sql_prepare(index, SQL_SUBSCRIPTION_REMOVE_ALL);
    sqlite3_stmt *annotations = sql_prepare(index, SQL_ANNOTATION_FORGET_ALL);
    sqlite3_stmt *row = sql_prepare(index, SQL_ACCOUNT_REMOVE);
    if (aliases == NULL || mailboxes == NULL || subscriptions == NULL || annotations == NULL || row == NULL ||
        flags_forget(index, account->id, 0) != 0 || acl_forget_account(index, account->id) != 0) {
        return -1;
    }
    if (note_aliases_gone(index, account_address(account)) != 0) {
        return -1;
    }
    sql_int(subscriptions, 1, account->id);
    sql_int(annotations, 1, account->id);
    sql_text(aliases, 1, account_address(account));
    sql_int(mailboxes, 1, account->id);
    sql_int(row, 1, account->id);
    if (sql_run(index, aliases) != 0 || sql_run(index, mailboxes) != 0 ||
        sql_run(index, subscriptions) != 0 || sql_run(index, annotations) != 0 || sql_run(index, row) != 0) {
        return -1;
    }
    events_account_gone(index, account->id);
    return 0;
}

static int each_account(struct index *index, sqlite3_stmt *q,
                        bool (*each)(void *context, const struct account *account), void *context)
{
    struct account account;
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (read_account(q, &account) && !each(context, &account)) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int account_list(struct index *index, bool (*each)(void *context, const struct account *account),
                 void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_LIST);
    return q == NULL ? -1 : each_account(index, q, each, context);
}

int account_list_after(struct index *index, struct str after, int max,
                       bool (*each)(void *context, const struct account *account), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_PAGE);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, after);
    sql_int(q, 2, max);
    return each_account(index, q, each, context);
}

static int change_alias(struct index *index, enum statement which, struct str address, struct str target)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, address);
    sql_text(q, 2, target);
    return sql_run(index, q);
}

static int64_t alias_count(struct index *index, struct str address)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ALIAS_COUNT);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, address);
    if (!sql_row(index, q)) {
        return -1;
    }
    int64_t count = sqlite3_column_int64(q, 0);
    sql_done(q);
    return count;
}

int alias_add(struct index *index, struct str address, struct str target)
{
    int there = alias_points_to(index, address, target);
    int64_t count = there == 0 ? alias_count(index, address) : 0;
    if (there != 0 || count < 0) {
        return there == 1 ? 0 : -1;
    }
    if (count >= ALIAS_TARGETS_MAX) {
        return 1;
    }
    events_alias(index, address, target);
    return change_alias(index, SQL_ALIAS_ADD, address, target);
}

int alias_remove(struct index *index, struct str address, struct str target)
{
    events_alias_gone(index, address, target);
    return change_alias(index, SQL_ALIAS_REMOVE, address, target);
}

static int each_alias(struct index *index, sqlite3_stmt *q,
                      bool (*each)(void *context, struct str address, struct str target), void *context)
{
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (!each(context, sql_get_text(q, 0), sql_get_text(q, 1))) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int alias_list(struct index *index, bool (*each)(void *context, struct str address, struct str target),
               void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ALIAS_LIST);
    return q == NULL ? -1 : each_alias(index, q, each, context);
}

int alias_list_after(struct index *index, struct str address, struct str target, int max,
                     bool (*each)(void *context, struct str address, struct str target), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ALIAS_PAGE);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, address);
    sql_text(q, 2, target);
    sql_int(q, 3, max);
    return each_alias(index, q, each, context);
}

/* Names that people trust, whether there is such an account or not. */
static const char *const trusted_names[] = {"postmaster",    "abuse",        "hostmaster", "webmaster",
                                            "mailer-daemon", "security",     "noreply",    "admin",
                                            "root",          "administrator"};

struct likeness {
    struct str address;
    struct str local;
    struct str domain;
    bool ascii;
    struct buf skeleton;
};

static bool looks_like(const struct likeness *wanted, struct str local)
{
    char area[2048];
    struct buf skeleton = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    /* Whoever types ASCII can tell it apart, and case makes no difference to an address anyway. */
    return !(wanted->ascii && str_is_ascii(local)) && lookalike_skeleton(local, &skeleton) &&
           str_equal(buf_str(&skeleton), buf_str(&wanted->skeleton));
}

static int find_among_all(struct index *index, const struct likeness *wanted, struct buf *found)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ADDRESS_LIST);
    if (q == NULL) {
        return -1;
    }
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        struct str local;
        struct str domain;
        struct str address = sql_get_text(q, 0);
        if (address_split(address, &local, &domain) && str_equal(domain, wanted->domain) &&
            !str_equal(address, wanted->address) && looks_like(wanted, local)) {
            buf_append_str(found, address);
            sql_done(q);
            return 1;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int address_find_lookalike(struct index *index, struct str address, struct buf *found)
{
    char area[2048];
    struct likeness wanted = {.address = address,
                              .ascii = str_is_ascii(address),
                              .skeleton = {.data = area, .cap = sizeof(area), .limit = sizeof(area)}};
    if (!address_split(address, &wanted.local, &wanted.domain) ||
        !lookalike_skeleton(wanted.local, &wanted.skeleton)) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(trusted_names) / sizeof(trusted_names[0]); i++) {
        if (looks_like(&wanted, str_of(trusted_names[i]))) {
            buf_append_str(found, str_of(trusted_names[i]));
            buf_append_char(found, '@');
            buf_append_str(found, wanted.domain);
            return 1;
        }
    }
    return find_among_all(index, &wanted, found);
}

int alias_points_to(struct index *index, struct str address, struct str target)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ALIAS_POINTS_TO);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, address);
    sql_text(q, 2, target);
    index->error[0] = '\0';
    if (sql_row(index, q)) {
        sql_done(q);
        return 1;
    }
    return index->error[0] == '\0' ? 0 : -1;
}
