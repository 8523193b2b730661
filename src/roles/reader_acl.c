/* What IMAP asks of access control lists (RFC 4314). Part of the reader role. */
#include "roles/reader_private.h"

#include "store/account.h"

struct acl_context {
    struct reader *r;
    struct role_peer *peer;
    const struct mailbox_acl *ask;
    int64_t account;
};

static void send_rights(const struct acl_context *c, struct str identifier, uint32_t rights)
{
    struct mailbox_rights answer = {.ticket = c->ask->ticket, .rights = rights, .identifier = identifier};
    role_send(c->peer, &mailbox_rights_type, &answer);
}

/* The owner first, who has no entry and all rights. */
static bool send_entries(const struct acl_context *c, const struct mailbox *mailbox)
{
    struct acl_entry entries[ACL_ENTRIES_MAX];
    struct acl_entry owner = {.grantee = mailbox->account};
    int count = acl_entries(c->r->index, mailbox->account, mailbox->id, entries);
    for (int i = -1; i < count; i++) {
        char area[ACCOUNT_ADDRESS_MAX + 1];
        struct buf identifier = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        int known = acl_write_identifier(c->r->index, i < 0 ? &owner : &entries[i], &identifier);
        if (known < 0) {
            return false;
        }
        if (known == 1) {
            send_rights(c, buf_str(&identifier), i < 0 ? RIGHTS_ALL : entries[i].rights);
        }
    }
    return count >= 0;
}

/* Whether the name is that of an account makes no difference, so that nobody learns it here. */
static bool send_possible(const struct acl_context *c, const struct mailbox *mailbox)
{
    struct acl_entry entry;
    int found = acl_identifier(c->r->index, c->ask->identifier, &entry);
    send_rights(c, c->ask->identifier, found == 1 && entry.grantee == mailbox->account ? RIGHTS_ALL : 0);
    return found >= 0;
}

static enum mailbox_result answer(const struct acl_context *c)
{
    struct mailbox mailbox;
    uint32_t rights;
    const uint32_t any =
        RIGHT_LOOKUP | RIGHT_READ | RIGHT_INSERT | RIGHT_CREATE | RIGHT_REMOVE | RIGHT_ADMINISTER;
    bool own = c->ask->question == MAILBOX_ACL_OWN;
    int found = acl_find(c->r->index, c->account, c->ask->name, &mailbox, &rights);
    if (found < 0) {
        return MAILBOX_TEMPORARY;
    }
    if (found == 0 || (rights & (own ? any : RIGHT_ADMINISTER)) == 0) {
        return reader_denied(rights);
    }
    if (own) {
        send_rights(c, STR_EMPTY, rights);
        return MAILBOX_OK;
    }
    bool fine =
        c->ask->question == MAILBOX_ACL_ENTRIES ? send_entries(c, &mailbox) : send_possible(c, &mailbox);
    return fine ? MAILBOX_OK : MAILBOX_TEMPORARY;
}

void reader_answer_acl(struct reader *r, struct role_peer *peer, const struct mailbox_acl *ask)
{
    struct grant grant;
    struct acl_context c = {.r = r, .peer = peer, .ask = ask};
    if (!reader_grant_of(r, peer, ask->grant, &grant)) {
        reader_send_end(peer, ask->ticket, MAILBOX_REFUSED);
        return;
    }
    c.account = (int64_t)grant.account;
    reader_send_end(peer, ask->ticket, answer(&c));
}
