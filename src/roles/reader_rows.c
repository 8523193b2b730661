/* What IMAP asks of mailboxes by their names: all that an account sees, and their annotations. Part of the reader role. */
#include "roles/reader_private.h"

#include "store/account.h"
#include "store/annotation.h"
#include "store/folder.h"
#include "store/move.h"
#include "store/resolve.h"

enum { ROWS_MAX = 2 * FOLDERS_MAX };

/* Rows. */

struct row_context {
    struct reader *r;
    struct role_peer *peer;
    uint64_t ticket;
    bool deleted_octets;
    struct buf subscribed; /* names, each ended by NUL */
    struct buf of_others;  /* likewise, of mailboxes of others */
    struct str rest;       /* of them, those that sort at or behind the row under way */
    unsigned sent;
};

static void send_subscription(struct row_context *c, struct str name)
{
    static const unsigned char no_id[MAILBOX_OBJECT_ID];
    struct mailbox_row row = {
        .ticket = c->ticket, .subscribed = 1, .id = str_make(no_id, sizeof(no_id)), .name = name};
    if (c->sent++ < ROWS_MAX) {
        role_send(c->peer, &mailbox_row_type, &row);
    }
}

/* Both lists are in the order of names: a merge. */
static bool is_subscribed(struct row_context *c, struct str name, bool at_end)
{
    while (c->rest.len > 0) {
        struct str rest = c->rest;
        struct str next;
        str_split(&rest, '\0', &next);
        int order = at_end ? -1 : str_compare(next, name);
        if (order > 0) {
            return false;
        }
        c->rest = rest;
        if (order == 0) {
            return true;
        }
        send_subscription(c, next);
    }
    return false;
}

static bool add_deleted(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct reader *r = context;
    (void)modseq;
    return (flags & FLAG_DELETED) == 0 || uid_ranges_append(&r->bytes, uid);
}

/* What an expunge would free; 0 where that cannot be known. */
static uint64_t deleted_octets(struct reader *r, const struct mailbox *mailbox)
{
    uint64_t octets = 0;
    uint64_t all = 0;
    struct str packed;
    struct uid_range range;
    buf_clear(&r->bytes);
    if (mailbox->deleted == 0 || flags_each(r->index, mailbox, 0, 0, add_deleted, r) != 0) {
        return 0;
    }
    packed = buf_str(&r->bytes);
    while (uid_ranges_next(&packed, &range)) {
        all += message_octets(r->index, mailbox, &range, 1, &octets) == 0 ? octets : 0;
    }
    return all;
}

/* Who may not read there learns that it is there, and nothing of what is in it. */
static bool send_unread(struct row_context *c, struct str name, uint32_t rights)
{
    static const unsigned char no_id[MAILBOX_OBJECT_ID];
    struct mailbox_row row = {.ticket = c->ticket,
                              .exists = 1,
                              .subscribed = is_subscribed(c, name, false),
                              .rights = rights,
                              .id = str_make(no_id, sizeof(no_id)),
                              .name = name};
    c->sent++;
    return role_send(c->peer, &mailbox_row_type, &row);
}

static bool send_shared(void *context, const struct mailbox *mailbox, struct str name, uint32_t rights)
{
    struct row_context *c = context;
    unsigned char id[MAILBOX_OBJECT_ID];
    if ((rights & (RIGHT_LOOKUP | RIGHT_READ)) == 0 || c->sent >= ROWS_MAX) {
        return true;
    }
    if ((rights & RIGHT_READ) == 0) {
        return send_unread(c, name, rights);
    }
    folder_object_id(mailbox, id);
    struct mailbox_row row = {.ticket = c->ticket,
                              .exists = 1,
                              .subscribed = is_subscribed(c, name, false),
                              .rights = rights,
                              .special_use = is_other_users(name) ? 0 : mailbox->special_use,
                              .uid_validity = mailbox->uid_validity,
                              .uid_next = mailbox->uid_next,
                              .modseq = mailbox->modseq,
                              .messages = mailbox->messages,
                              .unseen = mailbox->unseen,
                              .deleted = mailbox->deleted,
                              .recent = reader_recent(c->r, mailbox),
                              .octets = mailbox->octets,
                              .deleted_octets = c->deleted_octets ? deleted_octets(c->r, mailbox) : 0,
                              .id = str_make(id, sizeof(id)),
                              .name = name};
    c->sent++;
    return role_send(c->peer, &mailbox_row_type, &row);
}

static bool send_row(void *context, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    (void)keywords;
    return send_shared(context, mailbox, name, RIGHTS_ALL);
}

static bool note_subscription(void *context, struct str name)
{
    struct row_context *c = context;
    struct buf *names = is_other_users(name) ? &c->of_others : &c->subscribed;
    return buf_append_str(names, name) && buf_append_char(names, '\0');
}

/* What others share comes behind all else, so that both are merges. */
static bool send_rows(struct row_context *c, int64_t account)
{
    if (folder_subscriptions(c->r->index, account, note_subscription, c) != 0 || !buf_ok(&c->subscribed) ||
        !buf_ok(&c->of_others)) {
        return false;
    }
    c->rest = buf_str(&c->subscribed);
    if (folder_list(c->r->index, account, send_row, c) != 0) {
        return false;
    }
    is_subscribed(c, STR_EMPTY, true);
    c->rest = buf_str(&c->of_others);
    if (acl_shared(c->r->index, account, send_shared, c) != 0) {
        return false;
    }
    is_subscribed(c, STR_EMPTY, true);
    return true;
}

void reader_answer_rows(struct reader *r, struct role_peer *peer, const struct mailbox_rows *ask)
{
    struct grant grant;
    struct row_context c = {.r = r,
                            .peer = peer,
                            .ticket = ask->ticket,
                            .deleted_octets = ask->deleted_octets != 0,
                            .subscribed = buf_make((size_t)FOLDERS_MAX * FOLDER_NAME_MAX),
                            .of_others = buf_make((size_t)FOLDERS_MAX * FOLDER_NAME_MAX)};
    if (!reader_grant_of(r, peer, ask->grant, &grant)) {
        reader_send_end(peer, ask->ticket, MAILBOX_REFUSED);
        return;
    }
    bool fine = send_rows(&c, (int64_t)grant.account);
    struct account account;
    int64_t quota = 0;
    fine = fine && account_by_id(r->index, (int64_t)grant.account, &account) == 1;
    if (fine) {
        quota = resolve_quota(r->role->config, &account);
    }
    struct mailbox_end end = {.ticket = ask->ticket,
                              .result = fine ? MAILBOX_OK : MAILBOX_TEMPORARY,
                              .used_octets = fine ? (uint64_t)account.used_octets : 0,
                              .quota_octets = quota > 0 ? (uint64_t)quota : 0};
    role_send(peer, &mailbox_end_type, &end);
    buf_free(&c.subscribed);
    buf_free(&c.of_others);
}

/* Annotations. */

enum part { BEFORE_OTHERS, OF_OTHERS, BEHIND_OTHERS };

struct annotation_context {
    struct reader *r;
    struct role_peer *peer;
    uint64_t ticket;
    bool all;
    enum part part;  /* of all: they are sent in the order of names */
    struct str name; /* of the mailbox of another that is under way */
    bool failed;
};

static bool send_annotation(void *context, struct str mailbox, struct str entry, struct str value)
{
    struct annotation_context *c = context;
    bool of_other = c->name.len > 0;
    enum part part = str_compare(mailbox, STR(OTHER_USERS)) < 0 ? BEFORE_OTHERS : BEHIND_OTHERS;
    /* What is private is so to the owner. */
    if (of_other ? !str_starts(entry, STR("/shared/")) : c->all && part != c->part) {
        return true;
    }
    struct mailbox_annotation annotation = {
        .ticket = c->ticket, .name = of_other && c->all ? c->name : mailbox, .entry = entry, .value = value};
    c->failed = !role_send(c->peer, &mailbox_annotation_type, &annotation);
    return !c->failed;
}

/* RFC 5464, section 3.3 */
static bool sees_annotations(uint32_t rights)
{
    return (rights & RIGHT_LOOKUP) != 0 &&
           (rights & (RIGHT_READ | RIGHT_SEEN | RIGHT_WRITE | RIGHT_INSERT | RIGHT_POST)) != 0;
}

static bool send_of_shared(void *context, const struct mailbox *mailbox, struct str name, uint32_t rights)
{
    struct annotation_context *c = context;
    if (sees_annotations(rights)) {
        c->name = name;
        c->failed =
            annotation_each(c->r->index, mailbox->account, mailbox->id, send_annotation, c) != 0 || c->failed;
        c->name = STR_EMPTY;
    }
    return !c->failed;
}

static bool send_all_annotations(struct annotation_context *c, int64_t account)
{
    struct index *index = c->r->index;
    c->all = true;
    c->part = BEFORE_OTHERS;
    bool fine = annotation_each_of_account(index, account, send_annotation, c) == 0 &&
                acl_shared(index, account, send_of_shared, c) == 0;
    c->part = BEHIND_OTHERS;
    return fine && annotation_each_of_account(index, account, send_annotation, c) == 0 && !c->failed;
}

static enum mailbox_result send_annotations_of(struct annotation_context *c, int64_t account, struct str name)
{
    struct mailbox mailbox = {.account = account, .id = 0};
    uint32_t rights = RIGHTS_ALL;
    int found = name.len == 0 ? 1 : acl_find(c->r->index, account, name, &mailbox, &rights);
    if (found == 0 || (found == 1 && !sees_annotations(rights))) {
        return reader_denied(found == 0 ? 0 : rights);
    }
    c->name = mailbox.account == account ? STR_EMPTY : name;
    return found == 1 && annotation_each(c->r->index, mailbox.account, mailbox.id, send_annotation, c) == 0 &&
                   !c->failed
               ? MAILBOX_OK
               : MAILBOX_TEMPORARY;
}

void reader_answer_metadata(struct reader *r, struct role_peer *peer, const struct mailbox_metadata *ask)
{
    struct grant grant;
    struct annotation_context c = {.r = r, .peer = peer, .ticket = ask->ticket};
    if (!reader_grant_of(r, peer, ask->grant, &grant)) {
        reader_send_end(peer, ask->ticket, MAILBOX_REFUSED);
    } else if (ask->all) {
        reader_send_end(peer, ask->ticket,
                        send_all_annotations(&c, (int64_t)grant.account) ? MAILBOX_OK : MAILBOX_TEMPORARY);
    } else {
        reader_send_end(peer, ask->ticket, send_annotations_of(&c, (int64_t)grant.account, ask->name));
    }
}
