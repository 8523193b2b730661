/* GETQUOTA and GETQUOTAROOT (RFC 9208). An account has one quota root, "", of storage; commands of the administrator set it. */
#include "imap/server_private.h"

struct quota {
    struct str mailbox; /* of GETQUOTAROOT; empty: GETQUOTA */
};

/* In units of 1024 octets; a limit that is not told is none. */
static void write_quota(const struct imap_server *s, struct buf *out)
{
    buf_append_lit(out, "* QUOTA \"\" (");
    if (s->quota_octets > 0) {
        buf_append_lit(out, "STORAGE ");
        buf_append_u64(out, (s->used_octets + 1023) / 1024);
        buf_append_char(out, ' ');
        buf_append_u64(out, (s->quota_octets + 1023) / 1024);
    }
    buf_append_lit(out, ")\r\n");
}

static enum imap_request listed(struct imap_server *s, struct buf *out)
{
    const struct quota *quota = s->data;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (quota->mailbox.len > 0) {
        buf_append_lit(out, "* QUOTAROOT ");
        imap_name_write(s, quota->mailbox, out);
        /* What is put into the mailbox of another counts for its owner, whose quota is nobody else's business. */
        if (is_other_users(quota->mailbox)) {
            buf_append_lit(out, "\r\n");
            return imap_ok(s, out, "", "That is the owner's quota");
        }
        buf_append_lit(out, " \"\"\r\n");
    }
    write_quota(s, out);
    return imap_ok(s, out, "", "That is the quota");
}

enum imap_request imap_command_getquota(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str root;
    struct quota *quota = imap_command_data(s, sizeof(*quota), NULL);
    if (quota == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (!imap_scan_space(scan) || !imap_scan_astring(scan, &root) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "GETQUOTA takes the name of a quota root");
    }
    quota->mailbox = STR_EMPTY;
    return root.len == 0 ? imap_ask(s, IMAP_LIST, listed)
                         : imap_no(s, out, "[NONEXISTENT] ", "There is one quota root, \"\"");
}

enum imap_request imap_command_getquotaroot(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct quota *quota = imap_command_data(s, sizeof(*quota), NULL);
    if (quota == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &quota->mailbox) || quota->mailbox.len == 0 ||
        !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "GETQUOTAROOT takes the name of a mailbox");
    }
    return imap_ask(s, IMAP_LIST, listed);
}
