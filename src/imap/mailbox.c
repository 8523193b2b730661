/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051, section 6.3; CREATE-SPECIAL-USE, RFC 6154). */
#include "imap/server_private.h"

#include "base/codec.h"

void imap_write_id(const unsigned char id[IMAP_MAILBOX_ID_SIZE], struct buf *out)
{
    hex_encode(str_make(id, IMAP_MAILBOX_ID_SIZE), out);
}

static enum imap_request changed(struct imap_server *s, struct buf *out)
{
    enum imap_change_kind kind = s->ask.change.kind;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (kind != IMAP_CHANGE_CREATE) {
        return imap_ok(s, out, "", "Done");
    }
    struct buf *reply = imap_reply_begin(s, "OK");
    buf_append_lit(reply, "[MAILBOXID (");
    imap_write_id(s->changed.id, reply);
    buf_append_lit(reply, ")] Created");
    return imap_reply_end(s, out);
}

static enum imap_request change(struct imap_server *s, enum imap_change_kind kind, struct str name,
                                struct str other_name)
{
    s->ask.change =
        (struct imap_change){.kind = kind, .name = name, .other_name = other_name, .keywords = STR_EMPTY};
    return imap_ask(s, IMAP_CHANGE, changed);
}

/* Without empty parts, and no wildcard: such names could not be listed. */
static bool is_creatable(struct str name)
{
    char before = '/';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (c == '%' || c == '*' || (c == '/' && before == '/')) {
            return false;
        }
        before = c;
    }
    return name.len > 0 && before != '/';
}

/* " (USE (\Drafts \Sent))" */
static bool scan_use(struct imap_scan *scan, uint32_t *uses)
{
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(') || !imap_scan_word(scan, STR("USE")) ||
        !imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    while (imap_scan_peek(scan) != ')') {
        struct imap_scan before = *scan;
        struct str word;
        if (!imap_scan_char(scan, '\\') || !imap_scan_atom(scan, &word) ||
            (imap_scan_peek(scan) != ')' && !imap_scan_space(scan))) {
            scan->why = "a special use";
            return false;
        }
        uint32_t use = imap_special_use_of(str_sub(before.rest, 0, word.len + 1));
        *uses |= use == 0 ? UINT32_MAX : use;
    }
    bool inner = imap_scan_char(scan, ')');
    return inner && imap_scan_char(scan, ')');
}

enum imap_request imap_command_create(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str name;
    uint32_t uses = 0;
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &name) ||
        (!imap_scan_end(scan) && !scan_use(scan, &uses)) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "CREATE takes the name of a mailbox");
    }
    if (uses == UINT32_MAX || (uses & IMAP_USE_ALL) != 0) {
        return imap_no(s, out, "[USEATTR] ", "There is no mailbox for this use here");
    }
    /* A delimiter at the end says that there will be others below (RFC 9051, section 6.3.4). */
    if (name.len > 0 && name.data[name.len - 1] == '/') {
        name.len--;
    }
    if (!is_creatable(name)) {
        return imap_no(s, out, "[CANNOT] ", "A name has no empty parts and none of % and *");
    }
    enum imap_request request = change(s, IMAP_CHANGE_CREATE, name, STR_EMPTY);
    s->ask.change.special_use = uses;
    return request;
}

static enum imap_request with_name(struct imap_server *s, struct imap_scan *scan, enum imap_change_kind kind,
                                   struct buf *out)
{
    struct str name;
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &name) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "This command takes the name of a mailbox");
    }
    return change(s, kind, name, STR_EMPTY);
}

enum imap_request imap_command_delete(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return with_name(s, scan, IMAP_CHANGE_DELETE, out);
}

enum imap_request imap_command_subscribe(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return with_name(s, scan, IMAP_CHANGE_SUBSCRIBE, out);
}

enum imap_request imap_command_unsubscribe(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return with_name(s, scan, IMAP_CHANGE_UNSUBSCRIBE, out);
}

enum imap_request imap_command_rename(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str from;
    struct str to;
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &from) || !imap_scan_space(scan) ||
        !imap_scan_name(s, scan, &to) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "RENAME takes the name of a mailbox and a new one");
    }
    if (to.len > 0 && to.data[to.len - 1] == '/') {
        to.len--;
    }
    if (!is_creatable(to) ||
        (is_creatable(from) && to.len > from.len && to.data[from.len] == '/' && str_starts(to, from))) {
        return imap_no(s, out, "[CANNOT] ", "A mailbox cannot get this name");
    }
    return change(s, IMAP_CHANGE_RENAME, from, to);
}
