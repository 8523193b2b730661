/* SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314). Who may do what the store and the reader decide. */
#include "imap/server_private.h"

enum { ROWS_MAX = 1 << 20 };

struct acl {
    struct str name;
    struct str identifier;
    struct buf rows; /* as they are told, each behind a space */
    uint32_t own;
};

static void free_acl(void *data)
{
    struct acl *acl = data;
    buf_free(&acl->rows);
}

uint64_t imap_own_flags(const struct imap_server *s, bool *keywords)
{
    uint32_t rights = s->selected.rights;
    *keywords = (rights & RIGHT_WRITE) != 0;
    return (*keywords ? IMAP_ANSWERED | IMAP_FLAGGED | IMAP_DRAFT : 0) |
           ((rights & RIGHT_DELETED) != 0 ? IMAP_DELETED : 0) | ((rights & RIGHT_SEEN) != 0 ? IMAP_SEEN : 0);
}

void imap_tell_my_rights(const struct imap_server *s, struct str name, uint32_t rights, struct buf *out)
{
    buf_append_lit(out, "* MYRIGHTS ");
    imap_name_write(s, name, out);
    buf_append_char(out, ' ');
    rights_write(rights, true, out);
    buf_append_lit(out, "\r\n");
}

/* Identifiers are UTF-8; a client that has not enabled that gets those that are not ASCII as literals. */
static bool rights_came(struct imap_server *s, struct str identifier, uint32_t rights)
{
    struct acl *acl = s->data;
    acl->own = rights;
    if (s->ask.acl == IMAP_ACL_ENTRIES) {
        buf_append_char(&acl->rows, ' ');
        imap_string_write(s, identifier, &acl->rows);
        buf_append_char(&acl->rows, ' ');
        rights_write(rights, true, &acl->rows);
    }
    return buf_ok(&acl->rows);
}

static enum imap_request answered(struct imap_server *s, struct buf *out)
{
    const struct acl *acl = s->data;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (s->ask.acl == IMAP_ACL_OWN) {
        imap_tell_my_rights(s, acl->name, acl->own, out);
        return imap_ok(s, out, "", "That is what you may do");
    }
    buf_append_str(out, s->ask.acl == IMAP_ACL_ENTRIES ? STR("* ACL ") : STR("* LISTRIGHTS "));
    imap_name_write(s, acl->name, out);
    if (s->ask.acl == IMAP_ACL_ENTRIES) {
        buf_append_str(out, buf_str(&acl->rows));
        buf_append_lit(out, "\r\n");
        return imap_ok(s, out, "", "That is the access control list");
    }
    buf_append_char(out, ' ');
    imap_string_write(s, acl->identifier, out);
    if (acl->own != 0) {
        buf_append_char(out, ' ');
        rights_write(acl->own, true, out);
        buf_append_lit(out, "\r\n");
    } else {
        buf_append_lit(out, " \"\" l r s w i p k x t e a c d\r\n");
    }
    return imap_ok(s, out, "", "Those are the rights that can be given");
}

static enum imap_request run(struct imap_server *s, struct imap_scan *scan, enum imap_acl_question question,
                             struct buf *out)
{
    struct acl *acl = imap_command_data(s, sizeof(*acl), free_acl);
    if (acl == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    acl->rows = buf_make(ROWS_MAX);
    bool fine = imap_scan_space(scan) && imap_scan_name(s, scan, &acl->name);
    if (fine && question == IMAP_ACL_POSSIBLE) {
        fine = imap_scan_space(scan) && imap_scan_astring(scan, &acl->identifier) &&
               acl->identifier.len <= IMAP_NAME_MAX;
    }
    if (!fine || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan,
                        question == IMAP_ACL_POSSIBLE
                            ? "LISTRIGHTS takes the name of a mailbox and an identifier"
                            : "This command takes the name of a mailbox");
    }
    s->rights = rights_came;
    s->ask.name = acl->name;
    s->ask.identifier = acl->identifier;
    s->ask.acl = question;
    return imap_ask(s, IMAP_ACL, answered);
}

enum imap_request imap_command_getacl(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run(s, scan, IMAP_ACL_ENTRIES, out);
}

enum imap_request imap_command_listrights(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run(s, scan, IMAP_ACL_POSSIBLE, out);
}

enum imap_request imap_command_myrights(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run(s, scan, IMAP_ACL_OWN, out);
}

/* Changes. */

static enum imap_request changed(struct imap_server *s, struct buf *out)
{
    s->news = s->state == IMAP_SELECTED; /* it may be the mailbox that is open */
    return s->answer == IMAP_CANNOT ? imap_no(s, out, "[CANNOT] ", "The owner has all rights always")
           : s->answer == IMAP_DONE ? imap_ok(s, out, "", "Done")
                                    : imap_no_answer(s, out, s->answer, false);
}

static enum imap_request change(struct imap_server *s, struct imap_change *change)
{
    change->kind = IMAP_CHANGE_ACL;
    change->keywords = STR_EMPTY;
    s->ask.change = *change;
    return imap_ask(s, IMAP_CHANGE, changed);
}

static bool scan_who(struct imap_server *s, struct imap_scan *scan, struct imap_change *change)
{
    return imap_scan_space(scan) && imap_scan_name(s, scan, &change->name) && imap_scan_space(scan) &&
           imap_scan_astring(scan, &change->other_name) && change->other_name.len <= IMAP_NAME_MAX;
}

/* "lrs" in the place of what there was, "+lrs" to it, "-lrs" from it. */
static bool scan_rights(struct imap_scan *scan, struct imap_change *change)
{
    struct str text;
    if (!imap_scan_space(scan) || !imap_scan_astring(scan, &text)) {
        return false;
    }
    change->operation = IMAP_STORE_REPLACE;
    if (text.len > 0 && (text.data[0] == '+' || text.data[0] == '-')) {
        change->operation = text.data[0] == '+' ? IMAP_STORE_ADD : IMAP_STORE_REMOVE;
        text = str_from(text, 1);
    }
    scan->why = "rights, letters of lrswipkxteacd";
    return rights_parse(text, &change->rights);
}

enum imap_request imap_command_setacl(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct imap_change acl = {.kind = IMAP_CHANGE_ACL};
    if (!scan_who(s, scan, &acl) || !scan_rights(scan, &acl) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "SETACL takes the name of a mailbox, an identifier and rights");
    }
    return change(s, &acl);
}

enum imap_request imap_command_deleteacl(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct imap_change acl = {.kind = IMAP_CHANGE_ACL};
    if (!scan_who(s, scan, &acl) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "DELETEACL takes the name of a mailbox and an identifier");
    }
    return change(s, &acl); /* no rights: no entry */
}
