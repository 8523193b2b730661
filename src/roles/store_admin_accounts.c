/* Accounts and aliases by command; part of the store's control socket. Called by store_admin.c. */
#include "roles/store_admin_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "ipc/proto_credential.h"
#include "message/lookalike.h"
#include "store/move.h"
#include "store/resolve.h"

/* The lookup form of an address argument; false after an answer. */
static bool take_address(struct admin_connection *c, const json_t *arguments, const char *name,
                         struct buf *form)
{
    struct str address = admin_argument(arguments, name);
    if (address.len > 0 && address.len <= ACCOUNT_ADDRESS_MAX && address_lookup_form(address, form)) {
        return true;
    }
    admin_error(c, EX_DATAERR, "write it as name@domain", "\"%.*s\" is no e-mail address",
                (int)(address.len > 200 ? 200 : address.len), address.data);
    return false;
}

/* False, after an answer, if mail for this address would never come here. */
static bool is_local(struct admin_connection *c, struct str address)
{
    const struct config *config = c->admin->store->config;
    struct str domain = str_from(address, str_find_last(address, '@') + 1);
    const struct config_domain *found = config_find_domain(config, domain);
    if (config->dev || (found != NULL && !found->relay_only)) {
        return true;
    }
    if (found != NULL) {
        admin_error(c, EX_DATAERR,
                    "a domain with relay = true has no users here; take that setting away, or make the "
                    "account at the host that has them",
                    "mail for %.*s is only passed on", STR_ARGS(domain));
        return false;
    }
    const char *names[256];
    size_t count = 0;
    for (size_t i = 0; i < config->domain_count && count < 256; i++) {
        names[count++] = config->domains[i].name.data;
    }
    struct str near = config_nearest(domain, names, count);
    char advice[512];
    if (near.len > 0) {
        snprintf(advice, sizeof(advice), "did you mean %.*s?", STR_ARGS(near));
    } else {
        snprintf(advice, sizeof(advice),
                 "add a section domain \"%.*s\" {} to the configuration and reload it", STR_ARGS(domain));
    }
    admin_error(c, EX_DATAERR, advice, "%.*s is not a domain of this server", STR_ARGS(domain));
    return false;
}

/* False, after an answer, if people would take this new address for another one. */
static bool is_distinct(struct admin_connection *c, struct str address)
{
    char area[ACCOUNT_ADDRESS_MAX + 64];
    struct buf other = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct str local = str_sub(address, 0, str_find_last(address, '@'));
    const char *fault = lookalike_fault(local);
    if (fault != NULL) {
        admin_error(c, EX_DATAERR, "choose a name of letters that people can see and type, all of one script",
                    "the name \"%.*s\" %s", STR_ARGS(local), fault);
        return false;
    }
    int found = address_find_lookalike(c->admin->store->index, address, &other);
    if (found < 0) {
        admin_index_error(c);
    } else if (found == 1) {
        admin_error(c, EX_DATAERR,
                    "choose another name, so that nobody's mail is mistaken for somebody else's",
                    "%.*s looks like %.*s to the eye: other characters of the same shape", STR_ARGS(address),
                    STR_ARGS(buf_str(&other)));
    }
    return found == 0;
}

bool admin_take_account(struct admin_connection *c, const json_t *arguments, struct account *account)
{
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    bool fine = take_address(c, arguments, "address", &form);
    int found = fine ? account_find(c->admin->store->index, buf_str(&form), account) : 0;
    if (fine && found < 0) {
        admin_index_error(c);
    } else if (fine && found == 0) {
        admin_error(c, EX_NOUSER, "`veredus user list` shows those there are", "there is no account %.*s",
                    STR_ARGS(buf_str(&form)));
    }
    buf_free(&form);
    return found == 1;
}

static bool take_quota(struct admin_connection *c, const json_t *arguments, int64_t *quota)
{
    const json_t *value = json_object_get(arguments, "quota");
    *quota = -1;
    if (value == NULL) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < -1) {
        admin_error(c, EX_USAGE, "give octets, 0 for no limit, -1 for the configured one",
                    "the quota is no number");
        return false;
    }
    *quota = json_integer_value(value);
    return true;
}

static void changed_account(struct store *s, int64_t account)
{
    struct credential_forget forget = {.account = (uint64_t)account};
    role_send(role_peer_of(s->role, ROLE_KEYS), &credential_forget_type, &forget);
    store_directory_changed(s);
}

bool admin_finish_change(struct admin_connection *c, bool fine)
{
    struct store *s = c->admin->store;
    if (fine && store_commit(s)) {
        return true;
    }
    index_rollback(s->index);
    admin_index_error(c);
    return false;
}

/* Passwords: keys makes the verifier, and the answer comes later. */

struct password_wait {
    struct store_admin *admin;
    uint64_t serial;
};

static void password_done(void *context, struct str error)
{
    struct password_wait *wait = context;
    struct store_admin *admin = wait->admin;
    struct admin_connection *c = admin_find(admin, wait->serial);
    mem_free(wait);
    if (c != NULL) {
        if (error.len == 0) {
            admin_done(c, NULL);
        } else {
            admin_error(c, EX_UNAVAILABLE, "", "%.*s", STR_ARGS(error));
        }
        /* The answer may come before the request has been left: it is sent by the step that follows. */
        admin_wake(c);
    }
    admin_release(admin);
}

static void set_password(struct admin_connection *c, const json_t *arguments, struct str address, bool create,
                         int64_t quota)
{
    struct str password = admin_argument(arguments, "password");
    struct password_wait *wait = mem_new(struct password_wait);
    if (password.len == 0 || password.len > 1024 || wait == NULL) {
        mem_free(wait);
        admin_error(c, EX_USAGE, "choose one of 1 to 1024 octets", "the password is missing or too long");
        return;
    }
    *wait = (struct password_wait){.admin = c->admin, .serial = c->serial};
    c->admin->references++;
    c->waiting = true;
    store_accounts_set_password(c->admin->store, address, password, create, quota, password_done, wait);
}

/* Whether there is such an alias, with this target or with any. -1 on error. */
static int alias_there(struct index *index, struct str address, struct str target)
{
    if (target.len > 0) {
        return alias_points_to(index, address, target);
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_ALIAS_TARGETS);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, address);
    index->error[0] = '\0';
    bool found = sql_row(index, q);
    sql_done(q);
    return found ? 1 : index->error[0] == '\0' ? 0 : -1;
}

/* False, after an answer, if an alias takes all mail of this new account away. */
static bool is_no_alias(struct admin_connection *c, struct str address)
{
    int there = alias_there(c->admin->store->index, address, STR_EMPTY);
    if (there < 0) {
        admin_index_error(c);
    } else if (there == 1) {
        admin_error(
            c, EX_CANTCREAT,
            "remove the alias first; made again later, with this address among its targets, it leaves the "
            "account a copy",
            "%.*s is an alias, and mail goes where it leads: the account would get none", STR_ARGS(address));
    }
    return there == 0;
}

void admin_user_add(struct admin_connection *c, const json_t *arguments)
{
    int64_t quota;
    struct account account;
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    if (take_address(c, arguments, "address", &form) && is_local(c, buf_str(&form)) &&
        take_quota(c, arguments, &quota)) {
        int found = account_find(c->admin->store->index, buf_str(&form), &account);
        if (found < 0) {
            admin_index_error(c);
        } else if (found == 1 &&
                   !str_equal(str_make(account.verifier, account.verifier_len), apply_any_password)) {
            admin_error(c, EX_CANTCREAT, "`veredus user passwd` gives it another password",
                        "there is an account %.*s already", STR_ARGS(buf_str(&form)));
        } else if (found == 1 || (is_no_alias(c, buf_str(&form)) && is_distinct(c, buf_str(&form)))) {
            set_password(c, arguments, buf_str(&form), found == 0, quota);
        }
    }
    buf_free(&form);
}

void admin_user_passwd(struct admin_connection *c, const json_t *arguments)
{
    struct account account;
    if (admin_take_account(c, arguments, &account)) {
        set_password(c, arguments, account_address(&account), false, -1);
    }
}

/* Lists, a page a step. */

struct page {
    struct admin_connection *c;
    int rows;
};

static bool add_user_row(void *context, const struct account *account)
{
    struct page *page = context;
    struct admin_job *job = &page->c->job;
    struct store *s = page->c->admin->store;
    struct str verifier = str_make(account->verifier, account->verifier_len);
    admin_row(page->c,
              json_pack("{s:o,s:s,s:b,s:I,s:I,s:I,s:I}", "address", admin_text(account_address(account)),
                        "state", account->state == ACCOUNT_ACTIVE ? "active" : "disabled", "any_password",
                        str_equal(verifier, apply_any_password), "messages",
                        (json_int_t)account->used_messages, "octets", (json_int_t)account->used_octets,
                        "quota", (json_int_t)resolve_quota(s->config, account), "own_quota",
                        (json_int_t)account->quota));
    buf_clear(&job->address);
    buf_append_str(&job->address, account_address(account));
    page->rows++;
    return true;
}

static bool user_list_step(struct admin_connection *c)
{
    struct page page = {.c = c};
    if (account_list_after(c->admin->store->index, buf_str(&c->job.address), ADMIN_PAGE, add_user_row,
                           &page) != 0) {
        admin_index_error(c);
        return false;
    }
    if (page.rows == ADMIN_PAGE) {
        return true;
    }
    admin_done(c, NULL);
    return false;
}

void admin_user_list(struct admin_connection *c, const json_t *arguments)
{
    (void)arguments;
    store_tick(c->admin->store);
    admin_start_job(c, user_list_step);
}

static bool add_alias_row(void *context, struct str address, struct str target)
{
    struct page *page = context;
    struct admin_job *job = &page->c->job;
    admin_row(page->c, json_pack("{s:o,s:o}", "address", admin_text(address), "target", admin_text(target)));
    buf_clear(&job->address);
    buf_clear(&job->target);
    buf_append_str(&job->address, address);
    buf_append_str(&job->target, target);
    page->rows++;
    return true;
}

static bool alias_list_step(struct admin_connection *c)
{
    struct page page = {.c = c};
    if (alias_list_after(c->admin->store->index, buf_str(&c->job.address), buf_str(&c->job.target),
                         ADMIN_PAGE, add_alias_row, &page) != 0) {
        admin_index_error(c);
        return false;
    }
    if (page.rows == ADMIN_PAGE) {
        return true;
    }
    admin_done(c, NULL);
    return false;
}

void admin_alias_list(struct admin_connection *c, const json_t *arguments)
{
    (void)arguments;
    admin_start_job(c, alias_list_step);
}

/* One change of an account. */

void admin_user_quota(struct admin_connection *c, const json_t *arguments)
{
    struct store *s = c->admin->store;
    struct account account;
    int64_t quota;
    if (!take_quota(c, arguments, &quota) || !admin_take_account(c, arguments, &account)) {
        return;
    }
    if (admin_finish_change(c, store_begin(s) && account_set_quota(s->index, account.id, quota) == 0)) {
        store_directory_changed(s);
        admin_done(c, NULL);
    }
}

static void set_state(struct admin_connection *c, const json_t *arguments, enum account_state state)
{
    struct store *s = c->admin->store;
    struct account account;
    if (admin_take_account(c, arguments, &account) &&
        admin_finish_change(c, store_begin(s) && account_set_state(s->index, account.id, state) == 0)) {
        changed_account(s, account.id);
        admin_done(c, NULL);
    }
}

void admin_user_disable(struct admin_connection *c, const json_t *arguments)
{
    set_state(c, arguments, ACCOUNT_DISABLED);
}

void admin_user_enable(struct admin_connection *c, const json_t *arguments)
{
    set_state(c, arguments, ACCOUNT_ACTIVE);
}

/* Removal: the messages by pages, then, with the last of them, the account. */

static bool remove_step(struct admin_connection *c)
{
    struct store *s = c->admin->store;
    struct account account;
    int found = account_by_id(s->index, c->job.account, &account);
    int removed = 0;
    if (found == 1 && store_begin(s)) {
        removed = account_remove_messages(s->index, account.id, ADMIN_PAGE);
        bool last = removed == 0;
        bool fine = removed >= 0 && (!last || account_remove(s->index, &account) == 0);
        if (!admin_finish_change(c, fine)) {
            return false;
        }
        c->job.changed += (uint64_t)removed;
        if (!last) {
            return true;
        }
        changed_account(s, account.id);
        admin_done(c, json_pack("{s:I}", "messages", (json_int_t)c->job.changed));
        return false;
    }
    if (found == 0) {
        admin_error(c, EX_NOUSER, "", "the account is gone already");
    } else {
        admin_index_error(c);
    }
    return false;
}

void admin_user_remove(struct admin_connection *c, const json_t *arguments)
{
    struct store *s = c->admin->store;
    struct account account;
    store_tick(s);
    if (!admin_take_account(c, arguments, &account)) {
        return;
    }
    /* Nobody logs in to it, and nothing is filed in it, while its messages go. */
    if (admin_finish_change(c, store_begin(s) &&
                                   account_set_state(s->index, account.id, ACCOUNT_DISABLED) == 0)) {
        changed_account(s, account.id);
        c->job.account = account.id;
        admin_start_job(c, remove_step);
    }
}

/* Aliases. */

static void add_alias(struct admin_connection *c, struct str address, struct str target)
{
    struct store *s = c->admin->store;
    int result = store_begin(s) ? alias_add(s->index, address, target) : -1;
    if (result == 1) {
        index_rollback(s->index); /* nothing has been changed */
        admin_error(c, EX_CANTCREAT, "let it lead to another alias that has the rest",
                    "an alias leads to at most %d addresses", ALIAS_TARGETS_MAX);
    } else if (admin_finish_change(c, result == 0)) {
        store_directory_changed(s);
        admin_done(c, NULL);
    }
}

void admin_alias_add(struct admin_connection *c, const json_t *arguments)
{
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    struct buf target = buf_make(ACCOUNT_ADDRESS_MAX);
    if (take_address(c, arguments, "address", &form) && is_local(c, buf_str(&form)) &&
        take_address(c, arguments, "target", &target)) {
        struct account account;
        bool itself = str_equal(buf_str(&form), buf_str(&target));
        if (itself && account_find(c->admin->store->index, buf_str(&form), &account) != 1) {
            admin_error(c, EX_DATAERR,
                        "only beside an account of this address, where it keeps a copy, is that of use",
                        "the alias leads to itself");
        } else if (is_distinct(c, buf_str(&form))) {
            add_alias(c, buf_str(&form), buf_str(&target));
        }
    }
    buf_free(&form);
    buf_free(&target);
}

void admin_alias_remove(struct admin_connection *c, const json_t *arguments)
{
    struct store *s = c->admin->store;
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    struct buf target = buf_make(ACCOUNT_ADDRESS_MAX);
    bool one = admin_argument(arguments, "target").len > 0;
    if (take_address(c, arguments, "address", &form) &&
        (!one || take_address(c, arguments, "target", &target))) {
        int there = alias_there(s->index, buf_str(&form), buf_str(&target));
        if (there < 0) {
            admin_index_error(c);
        } else if (there == 0) {
            admin_error(c, EX_NOUSER, "`veredus alias list` shows those there are", "there is no such alias");
        } else if (admin_finish_change(
                       c, store_begin(s) && alias_remove(s->index, buf_str(&form), buf_str(&target)) == 0)) {
            store_directory_changed(s);
            admin_done(c, NULL);
        }
    }
    buf_free(&form);
    buf_free(&target);
}
