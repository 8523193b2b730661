/*
 * Accounts as keys and the commands see them: verifiers are looked up for keys, and made by keys, since it alone has the
 * pepper. Part of the store role.
 */
#include "roles/store_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_credential.h"

#include <string.h>

enum { PENDING_MAX = 64 };

/* A password on its way to becoming a verifier. */
struct pending {
    uint64_t ticket; /* 0: the slot is free */
    bool create;
    bool set_if_there; /* dev: make it or change it, whichever is needed */
    int64_t quota;
    void (*done)(void *context, struct str error);
    void *context;
    size_t address_len;
    char address[ACCOUNT_ADDRESS_MAX];
};

struct store_accounts {
    uint64_t next_ticket;
    struct pending pending[PENDING_MAX];
};

struct store_accounts *store_accounts_new(struct store *s)
{
    (void)s;
    return mem_new(struct store_accounts);
}

/* keys asks. */

static bool make_for_anybody(struct store *s, struct str address, struct account *account)
{
    if (!store_begin(s)) {
        return false;
    }
    if (account_add(s->index, address, apply_any_password, -1, clock_wall_ms(), account) != 0) {
        store_rollback(s);
        return false;
    }
    if (!store_commit(s)) {
        return false;
    }
    store_directory_changed(s);
    return true;
}

static void answer_credential(struct store *s, struct role_peer *peer, const struct credential_query *query)
{
    struct credential_answer answer = {
        .ticket = query->ticket, .state = CREDENTIAL_UNKNOWN, .login = STR_EMPTY, .verifier = STR_EMPTY};
    struct account account;
    struct buf address = buf_make(ACCOUNT_ADDRESS_MAX);
    int found =
        address_lookup_form(query->login, &address) ? account_find(s->index, buf_str(&address), &account) : 0;
    if (found == 0 && s->config->dev && address.len > 0 && make_for_anybody(s, buf_str(&address), &account)) {
        found = 1;
    }
    if (found < 0) {
        log_error("an account cannot be looked up: %s", s->index->error);
        answer.state = CREDENTIAL_UNAVAILABLE;
    } else if (found == 1) {
        answer.account = (uint64_t)account.id;
        answer.login = account_address(&account);
        answer.verifier = str_make(account.verifier, account.verifier_len);
        bool any = str_equal(answer.verifier, apply_any_password);
        if (account.state == ACCOUNT_DISABLED) {
            answer.state = CREDENTIAL_DISABLED;
        } else if (any) {
            answer.state = s->config->dev ? CREDENTIAL_ANY_PASSWORD : CREDENTIAL_DISABLED;
        } else {
            answer.state = CREDENTIAL_FOUND;
        }
        if (any) {
            answer.verifier = STR_EMPTY;
        }
    }
    role_send(peer, &credential_answer_type, &answer);
    buf_free(&address);
}

/* New passwords. */

static void finish(struct pending *p, const char *error)
{
    void (*done)(void *context, struct str error) = p->done;
    void *context = p->context;
    p->ticket = 0;
    done(context, str_of(error));
}

/* NULL, or what went wrong. */
static const char *write_account(struct store *s, const struct pending *p, struct str verifier,
                                 uint64_t *changed)
{
    struct account account;
    struct str address = str_make(p->address, p->address_len);
    int found = account_find(s->index, address, &account);
    if (found < 0) {
        return "the index cannot be read";
    }
    if (found == 1 && p->create && !p->set_if_there) {
        return "there is an account of this address already; use `veredus user passwd` to change its "
               "password";
    }
    if (found == 0 && !p->create) {
        return "there is no account of this address; `veredus user list` shows those there are";
    }
    int result;
    if (found == 1) {
        result = account_set_verifier(s->index, account.id, verifier);
    } else {
        result = account_add(s->index, address, verifier, p->quota, clock_wall_ms(), &account);
    }
    if (result != 0) {
        return "the index cannot be written";
    }
    *changed = (uint64_t)account.id;
    return NULL;
}

static void verifier_made(struct store *s, const struct credential_made *made)
{
    struct pending *p = NULL;
    for (size_t i = 0; i < PENDING_MAX; i++) {
        if (s->accounts->pending[i].ticket == made->ticket && made->ticket != 0) {
            p = &s->accounts->pending[i];
        }
    }
    if (p == NULL) {
        return;
    }
    if (!made->made) {
        finish(p, "the password could not be hashed: there is no memory; try again");
        return;
    }
    uint64_t changed = 0;
    if (!store_begin(s)) {
        finish(p, "the index cannot be written");
        return;
    }
    const char *error = write_account(s, p, made->verifier, &changed);
    if (error != NULL) {
        index_rollback(s->index);
        finish(p, error);
        return;
    }
    if (!store_commit(s)) {
        finish(p, "the index cannot be written");
        return;
    }
    struct credential_forget forget = {.account = changed};
    role_send(role_peer_of(s->role, ROLE_KEYS), &credential_forget_type, &forget);
    store_directory_changed(s);
    finish(p, "");
}

void store_accounts_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                            const void *message)
{
    if (type == &credential_query_type) {
        answer_credential(s, peer, message);
    } else if (type == &credential_made_type) {
        verifier_made(s, message);
    }
}

static struct pending *start_password(struct store *s, struct str address, struct str password, bool create,
                                      int64_t quota, void (*done)(void *context, struct str error),
                                      void *context)
{
    struct pending *p = NULL;
    for (size_t i = 0; i < PENDING_MAX && p == NULL; i++) {
        if (s->accounts->pending[i].ticket == 0) {
            p = &s->accounts->pending[i];
        }
    }
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    if (p == NULL) {
        done(context, STR("too many passwords are being set at once; try again"));
        return NULL;
    }
    if (!address_lookup_form(address, &form)) {
        done(context, STR("this is not an e-mail address of the form name@domain"));
        buf_free(&form);
        return NULL;
    }
    *p = (struct pending){.ticket = ++s->accounts->next_ticket,
                          .create = create,
                          .quota = quota,
                          .done = done,
                          .context = context,
                          .address_len = form.len};
    memcpy(p->address, form.data, form.len);
    buf_free(&form);
    struct credential_make make = {.ticket = p->ticket, .password = password};
    if (!role_send(role_peer_of(s->role, ROLE_KEYS), &credential_make_type, &make)) {
        finish(p, "the keys role does not answer; try again in a moment");
        return NULL;
    }
    return p;
}

void store_accounts_set_password(struct store *s, struct str address, struct str password, bool create,
                                 int64_t quota, void (*done)(void *context, struct str error), void *context)
{
    start_password(s, address, password, create, quota, done, context);
}

/* `veredus dev --user`. */

static void dev_user_made(void *context, struct str error)
{
    struct store *s = context;
    struct control_dev_user_made made = {.made = error.len == 0};
    if (error.len > 0) {
        log_error("an account of --user cannot be made: %.*s", STR_ARGS(error));
    }
    channel_send(s->role->control, &control_dev_user_made_type, &made);
}

void store_accounts_dev_user(struct store *s, const struct control_dev_user *user)
{
    struct pending *p = start_password(s, user->address, user->password, true, -1, dev_user_made, s);
    if (p != NULL) {
        p->set_if_there = true;
    }
}
