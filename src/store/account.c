/* Accounts and aliases; see account.h. */
#include "store/account.h"

#include "message/path.h"

#include <utf8proc.h>

#include <stdlib.h>

static bool fold_unicode(struct str s, struct buf *out)
{
    utf8proc_uint8_t *folded = NULL;
    utf8proc_ssize_t len =
        utf8proc_map((const utf8proc_uint8_t *)s.data, (utf8proc_ssize_t)s.len, &folded,
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

int account_add(struct index *index, struct str address, struct str verifier, int64_t quota, uint64_t wall_ms,
                struct account *account)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_ADD);
    if (q == NULL || verifier.len > ACCOUNT_VERIFIER_MAX || address.len > ACCOUNT_ADDRESS_MAX) {
        return -1;
    }
    sql_text(q, 1, address);
    sql_text(q, 2, verifier);
    sql_int(q, 3, quota);
    sql_int(q, 4, (int64_t)wall_ms);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    int64_t id = sqlite3_last_insert_rowid(index->db);
    q = sql_prepare(index, SQL_MAILBOX_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, MAILBOX_INBOX);
    sql_text(q, 3, STR("INBOX"));
    /* Seconds since 1970 keep growing, so a mailbox made again never repeats a UIDVALIDITY (RFC 3501, section 2.3.1.1). */
    sql_int(q, 4, (int64_t)(wall_ms / 1000));
    if (sql_run(index, q) != 0) {
        return -1;
    }
    return account_by_id(index, id, account) == 1 ? 0 : -1;
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
    return sql_run(index, q);
}

int account_set_quota(struct index *index, int64_t id, int64_t quota)
{
    return set_number(index, SQL_ACCOUNT_SET_QUOTA, id, quota);
}

int account_set_state(struct index *index, int64_t id, enum account_state state)
{
    return set_number(index, SQL_ACCOUNT_SET_STATE, id, state);
}

int account_add_used(struct index *index, int64_t id, int64_t octets, int64_t messages)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_SET_USED);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, octets);
    sql_int(q, 3, messages);
    return sql_run(index, q);
}

int account_remove(struct index *index, const struct account *account)
{
    sqlite3_stmt *aliases = sql_prepare(index, SQL_ALIAS_REMOVE_TARGET);
    sqlite3_stmt *mailboxes = sql_prepare(index, SQL_MAILBOX_REMOVE_ALL);
    sqlite3_stmt *row = sql_prepare(index, SQL_ACCOUNT_REMOVE);
    if (aliases == NULL || mailboxes == NULL || row == NULL) {
        return -1;
    }
    sql_text(aliases, 1, account_address(account));
    sql_int(mailboxes, 1, account->id);
    sql_int(row, 1, account->id);
    return sql_run(index, aliases) == 0 && sql_run(index, mailboxes) == 0 && sql_run(index, row) == 0 ? 0 : -1;
}

int account_list(struct index *index, bool (*each)(void *context, const struct account *account), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACCOUNT_LIST);
    if (q == NULL) {
        return -1;
    }
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

int alias_add(struct index *index, struct str address, struct str target)
{
    return change_alias(index, SQL_ALIAS_ADD, address, target);
}

int alias_remove(struct index *index, struct str address, struct str target)
{
    return change_alias(index, SQL_ALIAS_REMOVE, address, target);
}

int alias_list(struct index *index, bool (*each)(void *context, struct str address, struct str target), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ALIAS_LIST);
    if (q == NULL) {
        return -1;
    }
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (!each(context, sql_get_text(q, 0), sql_get_text(q, 1))) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
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
