/* Access control lists; see acl.h. */
#include "store/acl.h"

#include "store/events.h"
#include "store/folder.h"

static struct str domain_of(struct str address)
{
    size_t at = str_find_last(address, '@');
    return str_from(address, at == SIZE_MAX ? address.len : at + 1);
}

/* Rights. */

struct granted {
    uint32_t of_account;
    uint32_t taken;
    uint32_t of_anyone;
    uint32_t taken_from_anyone;
};

static int read_granted(struct index *index, int64_t account, const struct mailbox *mailbox,
                        struct granted *granted)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACL_OF);
    *granted = (struct granted){0};
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, account);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        bool anyone = sqlite3_column_int64(q, 0) == ACL_ANYONE;
        bool negative = sqlite3_column_int64(q, 1) != 0;
        uint32_t *rights = anyone     ? negative ? &granted->taken_from_anyone : &granted->of_anyone
                           : negative ? &granted->taken
                                      : &granted->of_account;
        *rights = (uint32_t)sqlite3_column_int64(q, 2) & RIGHTS_ALL;
    }
    return index->error[0] == '\0' ? 0 : -1;
}

static uint32_t sum(const struct granted *g, bool same_domain)
{
    return same_domain ? (g->of_account | g->of_anyone) & ~(g->taken | g->taken_from_anyone)
                       : g->of_account & ~g->taken;
}

/* 1, 0, or -1. */
static int is_same_domain(struct index *index, int64_t account, int64_t owner)
{
    struct account a;
    struct account b;
    int found = account_by_id(index, account, &a);
    found = found == 1 ? account_by_id(index, owner, &b) : found;
    return found != 1 ? found : str_equal(domain_of(account_address(&a)), domain_of(account_address(&b)));
}

int acl_rights(struct index *index, int64_t account, const struct mailbox *mailbox, uint32_t *rights)
{
    struct granted granted;
    int same = 0;
    *rights = account == mailbox->account ? RIGHTS_ALL : 0;
    if (account == mailbox->account) {
        return 0;
    }
    if (read_granted(index, account, mailbox, &granted) != 0) {
        return -1;
    }
    if ((granted.of_anyone | granted.taken_from_anyone) != 0) {
        same = is_same_domain(index, account, mailbox->account);
    }
    *rights = same < 0 ? 0 : sum(&granted, same == 1);
    return same < 0 ? -1 : 0;
}

int acl_reads(struct index *index, int64_t account, int64_t owner, int64_t mailbox)
{
    struct mailbox of = {.account = owner, .id = mailbox};
    uint32_t rights;
    return acl_rights(index, account, &of, &rights) != 0 ? -1 : (rights & RIGHT_READ) != 0;
}

/* Names. */

/* "Other Users/name@domain/Folder" into its two parts. False: it has not both of them. */
static bool split_shared(struct str name, struct str *address, struct str *rest)
{
    struct str tail = str_from(name, sizeof(OTHER_USERS));
    size_t slash = str_find(tail, 0, '/');
    if (slash == SIZE_MAX || slash + 1 == tail.len) {
        return false;
    }
    *address = str_sub(tail, 0, slash);
    *rest = str_from(tail, slash + 1);
    return address->len > 0;
}

/* "inbox" and "inbox/..." in any case are INBOX (RFC 9051, section 5.1). */
static bool append_folder(struct str name, struct buf *out)
{
    bool inbox =
        str_equal_nocase(str_sub(name, 0, 5), STR("INBOX")) && (name.len == 5 || name.data[5] == '/');
    return buf_append_str(out, inbox ? STR("INBOX") : str_sub(name, 0, 5)) &&
           buf_append_str(out, str_from(name, 5));
}

int acl_place(struct index *index, int64_t account, struct str name, struct acl_place *place)
{
    char area[ACCOUNT_ADDRESS_MAX];
    struct buf form = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct account owner = {.id = 0};
    struct str address;
    struct str rest;
    struct buf folder = {.data = place->area, .cap = sizeof(place->area), .limit = sizeof(place->area)};
    place->owner = account;
    place->name = name;
    if (!is_other_users(name)) {
        return 1;
    }
    /* A name that can be nobody else's may be that of an own mailbox from before there was this namespace. */
    if (!split_shared(name, &address, &rest) || !address_lookup_form(address, &form)) {
        return 1;
    }
    if (!append_folder(rest, &folder)) {
        return 0;
    }
    int found = account_find(index, buf_str(&form), &owner);
    place->owner = owner.id;
    place->name = buf_str(&folder);
    return found == 1 && owner.id == account ? 0 : found;
}

int acl_find(struct index *index, int64_t account, struct str name, struct mailbox *mailbox, uint32_t *rights)
{
    struct acl_place place = {.owner = 0};
    int found = acl_place(index, account, name, &place);
    *rights = 0;
    found = found == 1 ? folder_find(index, place.owner, place.name, mailbox) : found;
    return found == 1 && acl_rights(index, account, mailbox, rights) != 0 ? -1 : found;
}

void acl_canonical(struct str name, struct buf *out)
{
    char area[ACCOUNT_ADDRESS_MAX];
    struct buf form = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct str address;
    struct str rest;
    if (!is_other_users(name) || !split_shared(name, &address, &rest) ||
        !address_lookup_form(address, &form)) {
        buf_append_str(out, name);
        return;
    }
    buf_append_lit(out, OTHER_USERS "/");
    buf_append_str(out, buf_str(&form));
    buf_append_char(out, '/');
    append_folder(rest, out);
}

/* What others share. */

struct shared_walk {
    struct index *index;
    int64_t account;
    struct account self;
    bool (*each)(void *context, const struct mailbox *mailbox, struct str name, uint32_t rights);
    void *context;
};

/* 1: go on; 0: that was enough; -1. */
static int show_shared(const struct shared_walk *walk, sqlite3_stmt *q)
{
    char area[FOLDER_NAME_MAX];
    struct buf name = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct mailbox mailbox;
    struct granted granted;
    struct str address = sql_get_text(q, 14);
    mailbox_read_row(q, &mailbox);
    /* A name that is too long, or whose address has what parts names, cannot be used by a client. */
    if (str_find(address, 0, '/') != SIZE_MAX || !buf_append_lit(&name, OTHER_USERS "/") ||
        !buf_append_str(&name, address) || !buf_append_char(&name, '/') ||
        !buf_append_str(&name, sql_get_text(q, 12))) {
        return 1;
    }
    if (read_granted(walk->index, walk->account, &mailbox, &granted) != 0) {
        return -1;
    }
    uint32_t rights = sum(&granted, str_equal(domain_of(address), domain_of(account_address(&walk->self))));
    return rights == 0 || walk->each(walk->context, &mailbox, buf_str(&name), rights);
}

int acl_shared(struct index *index, int64_t account,
               bool (*each)(void *context, const struct mailbox *mailbox, struct str name, uint32_t rights),
               void *context)
{
    struct shared_walk walk = {.index = index, .account = account, .each = each, .context = context};
    sqlite3_stmt *q = sql_prepare(index, SQL_ACL_SHARED);
    int found = q == NULL ? -1 : account_by_id(index, account, &walk.self);
    if (found != 1) {
        return found;
    }
    struct str address = account_address(&walk.self);
    sql_int(q, 1, account);
    sql_int(q, 2, FOLDERS_MAX);
    sql_text(q, 3, str_from(address, address.len - domain_of(address).len - 1)); /* "@domain" */
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        int more = show_shared(&walk, q);
        if (more != 1) {
            sql_done(q);
            return more;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

/* Entries. */

int acl_entries(struct index *index, int64_t owner, int64_t mailbox,
                struct acl_entry entries[ACL_ENTRIES_MAX])
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACL_LIST);
    int count = 0;
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, owner);
    sql_int(q, 2, mailbox);
    index->error[0] = '\0';
    while (count < ACL_ENTRIES_MAX && sql_row(index, q)) {
        entries[count++] = (struct acl_entry){.grantee = sqlite3_column_int64(q, 0),
                                              .negative = sqlite3_column_int64(q, 1) != 0,
                                              .rights = (uint32_t)sqlite3_column_int64(q, 2)};
    }
    sql_done(q);
    return index->error[0] == '\0' ? count : -1;
}

int acl_list_after(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *after,
                   int max, bool (*each)(void *context, int64_t mailbox, const struct acl_entry *entry),
                   void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACL_PAGE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, owner);
    sql_int(q, 2, mailbox);
    sql_int(q, 3, after->grantee);
    sql_int(q, 4, after->negative);
    sql_int(q, 5, max);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        struct acl_entry entry = {.grantee = sqlite3_column_int64(q, 1),
                                  .negative = sqlite3_column_int64(q, 2) != 0,
                                  .rights = (uint32_t)sqlite3_column_int64(q, 3)};
        if (!each(context, sqlite3_column_int64(q, 0), &entry)) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int acl_identifier(struct index *index, struct str text, struct acl_entry *entry)
{
    char area[ACCOUNT_ADDRESS_MAX];
    struct buf form = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct account account;
    *entry = (struct acl_entry){.negative = text.len > 0 && text.data[0] == '-'};
    text = str_from(text, entry->negative);
    if (str_equal_nocase(text, STR("anyone"))) {
        entry->grantee = ACL_ANYONE;
        return 1;
    }
    int found = address_lookup_form(text, &form) ? account_find(index, buf_str(&form), &account) : 0;
    entry->grantee = found == 1 ? account.id : 0;
    return found;
}

int acl_write_identifier(struct index *index, const struct acl_entry *entry, struct buf *out)
{
    struct account account;
    int found = entry->grantee == ACL_ANYONE ? 1 : account_by_id(index, entry->grantee, &account);
    if (found != 1) {
        return found;
    }
    buf_append_str(out, entry->negative ? STR("-") : STR_EMPTY);
    buf_append_str(out, entry->grantee == ACL_ANYONE ? STR("anyone") : account_address(&account));
    return 1;
}

static int run_set(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *entry)
{
    sqlite3_stmt *q = sql_prepare(index, entry->rights == 0 ? SQL_ACL_REMOVE : SQL_ACL_SET);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, owner);
    sql_int(q, 2, mailbox);
    sql_int(q, 3, entry->grantee);
    sql_int(q, 4, entry->negative);
    if (entry->rights != 0) {
        sql_int(q, 5, entry->rights);
    }
    return sql_run(index, q);
}

/* Who has lost an entry is not found by the entries any more. */
static void touch_grantee(struct index *index, const struct acl_entry *entry)
{
    index_touch(index, entry->grantee, 0, TOUCH_NAMES);
}

int acl_set(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *entry)
{
    struct acl_entry entries[ACL_ENTRIES_MAX];
    int count = entry->rights == 0 ? 0 : acl_entries(index, owner, mailbox, entries);
    bool room = count < ACL_ENTRIES_MAX;
    for (int i = 0; i < count; i++) {
        room = room || (entries[i].grantee == entry->grantee && entries[i].negative == entry->negative);
    }
    if (count < 0 || !room) {
        return count < 0 ? -1 : 0;
    }
    events_acl(index, owner, mailbox, entry);
    index_touch(index, owner, mailbox, TOUCH_NAMES);
    touch_grantee(index, entry);
    return run_set(index, owner, mailbox, entry) == 0 ? 1 : -1;
}

int acl_copy(struct index *index, int64_t owner, int64_t from, int64_t to)
{
    struct acl_entry entries[ACL_ENTRIES_MAX];
    int count = acl_entries(index, owner, from, entries);
    for (int i = 0; i < count; i++) {
        if (acl_set(index, owner, to, &entries[i]) < 0) {
            return -1;
        }
    }
    return count < 0 ? -1 : 0;
}

int acl_forget(struct index *index, int64_t owner, int64_t mailbox)
{
    struct acl_entry entries[ACL_ENTRIES_MAX];
    int count = index->tracking ? acl_entries(index, owner, mailbox, entries) : 0;
    sqlite3_stmt *q = sql_prepare(index, SQL_ACL_FORGET);
    if (q == NULL || count < 0) {
        return -1;
    }
    for (int i = 0; i < count; i++) {
        touch_grantee(index, &entries[i]);
    }
    sql_int(q, 1, owner);
    sql_int(q, 2, mailbox);
    return sql_run(index, q);
}

int acl_forget_account(struct index *index, int64_t account)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ACL_FORGET_ACCOUNT);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    return sql_run(index, q);
}
