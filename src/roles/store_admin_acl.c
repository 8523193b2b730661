/* Access control lists by command; part of the store's control socket. Called by store_admin.c. */
#include "roles/store_admin_private.h"

#include "store/acl.h"
#include "store/folder.h"

/* The mailbox named by "mailbox"; false after an answer. */
static bool take_mailbox(struct admin_connection *c, const json_t *arguments, const struct account *account,
                         struct mailbox *mailbox)
{
    struct str name = admin_argument(arguments, "mailbox");
    int found = folder_find(c->admin->store->index, account->id,
                            str_equal_nocase(name, STR("INBOX")) ? STR("INBOX") : name, mailbox);
    if (found < 0) {
        admin_index_error(c);
    } else if (found == 0) {
        admin_error(c, EX_NOUSER, "names are the same in capitals and small letters for INBOX alone",
                    "there is no mailbox \"%.*s\"", (int)(name.len > 200 ? 200 : name.len), name.data);
    }
    return found == 1;
}

/* Listing. */

struct acl_page {
    struct admin_connection *c;
    int rows;
    bool failed;
};

static bool add_row(void *context, int64_t mailbox, const struct acl_entry *entry)
{
    struct acl_page *page = context;
    struct admin_job *job = &page->c->job;
    struct index *index = page->c->admin->store->index;
    struct mailbox of = {.account = job->account, .id = mailbox};
    struct buf name = buf_make(FOLDER_NAME_MAX);
    struct buf identifier = buf_make(ACCOUNT_ADDRESS_MAX + 1);
    struct buf rights = buf_make(RIGHTS_TEXT);
    page->rows++;
    job->mailbox = mailbox;
    job->grantee = entry->grantee;
    job->negative = entry->negative;
    bool wanted = job->only_mailbox == 0 || job->only_mailbox == mailbox;
    int known = wanted ? folder_name(index, &of, &name) : 0;
    known = known == 1 ? acl_write_identifier(index, entry, &identifier) : known;
    rights_write(entry->rights, false, &rights);
    page->failed = page->failed || known < 0 || !buf_ok(&rights);
    if (known == 1) {
        admin_row(page->c,
                  json_pack("{s:o,s:o,s:o,s:o}", "address", admin_text(buf_str(&job->address)), "mailbox",
                            admin_text(buf_str(&name)), "identifier", admin_text(buf_str(&identifier)),
                            "rights", admin_text(buf_str(&rights))));
    }
    buf_free(&name);
    buf_free(&identifier);
    buf_free(&rights);
    return !page->failed;
}

static bool list_step(struct admin_connection *c)
{
    struct acl_page page = {.c = c};
    struct acl_entry after = {.grantee = c->job.grantee, .negative = c->job.negative};
    if (acl_list_after(c->admin->store->index, c->job.account, c->job.mailbox, &after, ADMIN_PAGE, add_row,
                       &page) != 0 ||
        page.failed) {
        admin_index_error(c);
        return false;
    }
    if (page.rows == ADMIN_PAGE) {
        return true;
    }
    admin_done(c, NULL);
    return false;
}

void admin_acl_list(struct admin_connection *c, const json_t *arguments)
{
    struct account account;
    struct mailbox mailbox = {.id = 0};
    if (!admin_take_account(c, arguments, &account) ||
        (admin_argument(arguments, "mailbox").len > 0 && !take_mailbox(c, arguments, &account, &mailbox))) {
        return;
    }
    c->job.account = account.id;
    c->job.only_mailbox = mailbox.id;
    buf_clear(&c->job.address);
    buf_append_str(&c->job.address, account_address(&account));
    admin_start_job(c, list_step);
}

/* Changing. */

/* The entry's identifier, and what it has now; false after an answer. */
static bool take_entry(struct admin_connection *c, const json_t *arguments, const struct mailbox *mailbox,
                       struct acl_entry *entry)
{
    struct index *index = c->admin->store->index;
    struct acl_entry entries[ACL_ENTRIES_MAX];
    struct str identifier = admin_argument(arguments, "identifier");
    int found = acl_identifier(index, identifier, entry);
    int count = found == 1 ? acl_entries(index, mailbox->account, mailbox->id, entries) : 0;
    if (found < 0 || count < 0) {
        admin_index_error(c);
        return false;
    }
    if (found == 0) {
        admin_error(c, EX_NOUSER, "give the address of an account, or anyone for all of the domain",
                    "there is no account %.*s", (int)(identifier.len > 200 ? 200 : identifier.len),
                    identifier.data);
        return false;
    }
    if (entry->grantee == mailbox->account) {
        admin_error(c, EX_DATAERR, "name another account", "the owner has all rights always");
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (entries[i].grantee == entry->grantee && entries[i].negative == entry->negative) {
            *entry = entries[i];
        }
    }
    return true;
}

static void set_entry(struct admin_connection *c, const struct mailbox *mailbox,
                      const struct acl_entry *entry)
{
    struct store *s = c->admin->store;
    int set = store_begin(s) ? acl_set(s->index, mailbox->account, mailbox->id, entry) : -1;
    if (set == 0) {
        index_rollback(s->index); /* nothing has been changed */
        admin_error(c, EX_CANTCREAT, "remove some, or give rights to anyone",
                    "an access control list has at most %d entries", ACL_ENTRIES_MAX);
    } else if (admin_finish_change(c, set == 1)) {
        admin_done(c, NULL);
    }
}

/* "lrs", "+t". False: a letter that is none. */
static bool apply_rights(struct str text, uint32_t *rights)
{
    uint32_t given;
    char sign = text.len > 0 ? text.data[0] : '\0';
    if (!rights_parse(str_from(text, sign == '+'), &given)) {
        return false;
    }
    *rights = sign == '+' ? *rights | given : given;
    return true;
}

void admin_acl_set(struct admin_connection *c, const json_t *arguments)
{
    struct account account;
    struct mailbox mailbox;
    struct acl_entry entry;
    struct str rights = admin_argument(arguments, "rights");
    if (!admin_take_account(c, arguments, &account) || !take_mailbox(c, arguments, &account, &mailbox) ||
        !take_entry(c, arguments, &mailbox, &entry)) {
        return;
    }
    if (!apply_rights(rights, &entry.rights)) {
        admin_error(c, EX_DATAERR,
                    "lr: see and read; s: seen; w: other flags; i: put in; te: remove; kx: "
                    "mailboxes below it, itself; a: this list",
                    "rights are letters of lrswipkxtea");
        return;
    }
    set_entry(c, &mailbox, &entry);
}

void admin_acl_remove(struct admin_connection *c, const json_t *arguments)
{
    struct account account;
    struct mailbox mailbox;
    struct acl_entry entry;
    if (!admin_take_account(c, arguments, &account) || !take_mailbox(c, arguments, &account, &mailbox) ||
        !take_entry(c, arguments, &mailbox, &entry)) {
        return;
    }
    if (entry.rights == 0) {
        admin_error(c, EX_NOUSER, "`veredus acl list` shows those there are", "there is no such entry");
        return;
    }
    entry.rights = 0;
    set_entry(c, &mailbox, &entry);
}
