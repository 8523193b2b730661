/* What the server can do, the table of commands, and the commands that any state has. */
#include "imap/server_private.h"

#include "sasl/sasl.h"

const struct imap_command imap_commands[] = {
    {{"CAPABILITY", 10}, IMAP_ANY_STATE, 0, imap_command_capability},
    {{"NOOP", 4}, IMAP_ANY_STATE, 0, imap_command_noop},
    {{"LOGOUT", 6}, IMAP_ANY_STATE, 0, imap_command_logout},
    {{"ID", 2}, IMAP_ANY_STATE, 0, imap_command_id},
    {{"STARTTLS", 8}, IMAP_NOT_AUTHENTICATED, 0, imap_command_starttls},
    {{"LOGIN", 5}, IMAP_NOT_AUTHENTICATED, 0, imap_command_login},
    {{"AUTHENTICATE", 12}, IMAP_NOT_AUTHENTICATED, 0, imap_command_authenticate},
    {{"ENABLE", 6}, IMAP_LOGGED_IN, 0, imap_command_enable},
    {{"NAMESPACE", 9}, IMAP_LOGGED_IN, 0, imap_command_namespace},
    {{"IDLE", 4}, IMAP_LOGGED_IN, 0, imap_command_idle},
    {{"NOTIFY", 6}, IMAP_LOGGED_IN, 0, imap_command_notify},
    {{"COMPRESS", 8}, IMAP_LOGGED_IN, 0, imap_command_compress},
    {{"LIST", 4}, IMAP_LOGGED_IN, 0, imap_command_list},
    {{"LSUB", 4}, IMAP_LOGGED_IN, 0, imap_command_lsub},
    {{"STATUS", 6}, IMAP_LOGGED_IN, 0, imap_command_status},
    {{"GETMETADATA", 11}, IMAP_LOGGED_IN, 0, imap_command_getmetadata},
    {{"SETMETADATA", 11}, IMAP_LOGGED_IN, 0, imap_command_setmetadata},
    {{"SETACL", 6}, IMAP_LOGGED_IN, 0, imap_command_setacl},
    {{"DELETEACL", 9}, IMAP_LOGGED_IN, 0, imap_command_deleteacl},
    {{"GETACL", 6}, IMAP_LOGGED_IN, 0, imap_command_getacl},
    {{"LISTRIGHTS", 10}, IMAP_LOGGED_IN, 0, imap_command_listrights},
    {{"MYRIGHTS", 8}, IMAP_LOGGED_IN, 0, imap_command_myrights},
    {{"GETQUOTA", 8}, IMAP_LOGGED_IN, 0, imap_command_getquota},
    {{"GETQUOTAROOT", 12}, IMAP_LOGGED_IN, 0, imap_command_getquotaroot},
    {{"CREATE", 6}, IMAP_LOGGED_IN, 0, imap_command_create},
    {{"DELETE", 6}, IMAP_LOGGED_IN, 0, imap_command_delete},
    {{"RENAME", 6}, IMAP_LOGGED_IN, 0, imap_command_rename},
    {{"SUBSCRIBE", 9}, IMAP_LOGGED_IN, 0, imap_command_subscribe},
    {{"UNSUBSCRIBE", 11}, IMAP_LOGGED_IN, 0, imap_command_unsubscribe},
    {{"SELECT", 6}, IMAP_LOGGED_IN, 0, imap_command_select},
    {{"EXAMINE", 7}, IMAP_LOGGED_IN, 0, imap_command_examine},
    {{"APPEND", 6}, IMAP_LOGGED_IN, IMAP_LARGE, imap_command_append},
    {{"REPLACE", 7}, IMAP_SELECTED, IMAP_BY_UID | IMAP_BY_NUMBER | IMAP_LARGE, imap_command_replace},
    {{"CHECK", 5}, IMAP_SELECTED, 0, imap_command_check},
    {{"CLOSE", 5}, IMAP_SELECTED, 0, imap_command_close},
    {{"UNSELECT", 8}, IMAP_SELECTED, 0, imap_command_unselect},
    {{"EXPUNGE", 7}, IMAP_SELECTED, IMAP_BY_UID, imap_command_expunge},
    {{"FETCH", 5}, IMAP_SELECTED, IMAP_BY_UID | IMAP_NO_EXPUNGE | IMAP_BY_NUMBER, imap_command_fetch},
    {{"STORE", 5}, IMAP_SELECTED, IMAP_BY_UID | IMAP_NO_EXPUNGE | IMAP_BY_NUMBER, imap_command_store},
    {{"COPY", 4}, IMAP_SELECTED, IMAP_BY_UID | IMAP_BY_NUMBER, imap_command_copy},
    {{"MOVE", 4}, IMAP_SELECTED, IMAP_BY_UID | IMAP_BY_NUMBER, imap_command_move},
    {{"SEARCH", 6}, IMAP_SELECTED, IMAP_BY_UID | IMAP_NO_EXPUNGE | IMAP_BY_NUMBER, imap_command_search},
    {{"ESEARCH", 7}, IMAP_LOGGED_IN, 0, imap_command_esearch},
    {{"CANCELUPDATE", 12}, IMAP_SELECTED, 0, imap_command_cancelupdate},
    {{"SORT", 4}, IMAP_SELECTED, IMAP_BY_UID | IMAP_NO_EXPUNGE | IMAP_BY_NUMBER, imap_command_sort},
    {{"THREAD", 6}, IMAP_SELECTED, IMAP_BY_UID | IMAP_NO_EXPUNGE | IMAP_BY_NUMBER, imap_command_thread},
};
const size_t imap_command_count = sizeof(imap_commands) / sizeof(imap_commands[0]);

/* What is only of use after a login is told only then. */
static const char before_login[] = "IMAP4rev2 IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE";
static const char after_login[] =
    "IMAP4rev2 IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UIDPLUS MOVE CHILDREN LIST-EXTENDED LIST-STATUS "
    "SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE UNSELECT CONDSTORE QRESYNC ESEARCH SEARCHRES WITHIN PARTIAL "
    "SORT SORT=DISPLAY ESORT THREAD=REFERENCES THREAD=ORDEREDSUBJECT "
    "SEARCH=FUZZY BINARY SAVEDATE OBJECTID UTF8=ACCEPT MULTIAPPEND "
    "UIDONLY INPROGRESS CATENATE REPLACE PREVIEW MULTISEARCH "
    "CONTEXT=SEARCH CONTEXT=SORT QUOTA QUOTA=RES-STORAGE METADATA LIST-METADATA "
    "ACL RIGHTS=kxte LIST-MYRIGHTS NOTIFY";

void imap_capabilities(const struct imap_server *s, struct buf *out)
{
    if (s->state != IMAP_NOT_AUTHENTICATED) {
        buf_append_str(out, str_of(after_login));
        buf_append_str(out, s->compressed ? STR_EMPTY : STR(" COMPRESS=DEFLATE"));
        buf_append_lit(out, " APPENDLIMIT=");
        buf_append_u64(out, s->settings->append_max);
        if (s->settings->message_limit > 0) {
            buf_append_lit(out, " MESSAGELIMIT=");
            buf_append_u64(out, s->settings->message_limit);
        }
        return;
    }
    buf_append_str(out, str_of(before_login));
    if (!s->tls) {
        buf_append_str(out,
                       s->settings->tls_offered ? STR(" STARTTLS LOGINDISABLED") : STR(" LOGINDISABLED"));
        return;
    }
    struct str names = sasl_names();
    struct str name;
    while (str_split(&names, ' ', &name)) {
        buf_append_lit(out, " AUTH=");
        buf_append_str(out, name);
    }
}

void imap_capability_code(const struct imap_server *s, struct buf *out)
{
    buf_append_lit(out, "[CAPABILITY ");
    imap_capabilities(s, out);
    buf_append_lit(out, "] ");
}

enum imap_request imap_command_capability(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "CAPABILITY takes no argument");
    }
    buf_append_lit(out, "* CAPABILITY ");
    imap_capabilities(s, out);
    buf_append_lit(out, "\r\n");
    return imap_ok(s, out, "", "That is what this server can do");
}

enum imap_request imap_command_noop(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "NOOP takes no argument");
    }
    s->news = s->state == IMAP_SELECTED;
    return imap_ok(s, out, "", "Nothing done");
}

static enum imap_request closing(struct imap_server *s, struct buf *out)
{
    (void)out;
    s->closed = true;
    s->close_reason = "logout";
    return IMAP_CLOSE;
}

enum imap_request imap_command_logout(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "LOGOUT takes no argument");
    }
    buf_append_lit(out, "* BYE Goodbye\r\n");
    imap_deselect(s);
    imap_ok(s, out, "", "The session is over");
    return closing(s, out);
}

/* RFC 2971: what the client says of itself is read and not kept. */
enum imap_request imap_command_id(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str field;
    struct str value;
    bool is_nil;
    unsigned fields = 0;
    bool fine = imap_scan_space(scan);
    if (fine && !imap_scan_word(scan, STR("NIL"))) {
        fine = imap_scan_char(scan, '(');
        while (fine && imap_scan_peek(scan) != ')') {
            fine = imap_scan_string(scan, &field, NULL) && imap_scan_space(scan) &&
                   imap_scan_nstring(scan, &value, &is_nil) && field.len <= 30 && value.len <= 1024 &&
                   ++fields <= 30 && (imap_scan_peek(scan) == ')' || imap_scan_space(scan));
        }
        fine = fine && imap_scan_char(scan, ')');
    }
    if (!fine || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "ID takes NIL or a list of fields and values");
    }
    buf_append_lit(out, "* ID (\"name\" \"Veredus\")\r\n");
    return imap_ok(s, out, "", "Pleased to meet you");
}

enum imap_request imap_command_namespace(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "NAMESPACE takes no argument");
    }
    buf_append_lit(out, "* NAMESPACE ((\"\" \"/\")) ((\"" OTHER_USERS "/\" \"/\")) NIL\r\n");
    return imap_ok(s, out, "", "Your own mailboxes, and those that others share");
}

static const struct {
    struct str name;
    unsigned bits;
} enablable[] = {{{"CONDSTORE", 9}, IMAP_ENABLED_CONDSTORE},
                 {{"QRESYNC", 7}, IMAP_ENABLED_QRESYNC | IMAP_ENABLED_CONDSTORE},
                 {{"UTF8=ACCEPT", 11}, IMAP_ENABLED_UTF8},
                 {{"IMAP4rev2", 9}, IMAP_ENABLED_REV2},
                 {{"UIDONLY", 7}, IMAP_ENABLED_UIDONLY}};

enum imap_request imap_command_enable(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str word;
    unsigned before = s->enabled;
    unsigned wanted = 0;
    do {
        if (!imap_scan_space(scan) || !imap_scan_atom(scan, &word)) {
            return imap_bad(s, out, scan, "ENABLE takes names of capabilities");
        }
        for (size_t i = 0; i < sizeof(enablable) / sizeof(enablable[0]); i++) {
            wanted |= str_equal_nocase(word, enablable[i].name) ? enablable[i].bits : 0;
        }
    } while (!imap_scan_end(scan));
    buf_append_lit(out, "* ENABLED");
    for (size_t i = 0; i < sizeof(enablable) / sizeof(enablable[0]); i++) {
        unsigned bits = enablable[i].bits;
        if ((wanted & bits) == bits && (before & bits) != bits) {
            buf_append_char(out, ' ');
            buf_append_str(out, enablable[i].name);
        }
    }
    buf_append_lit(out, "\r\n");
    s->enabled |= wanted;
    return imap_ok(s, out, "", "Enabled");
}

enum imap_request imap_command_idle(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "IDLE takes no argument");
    }
    buf_append_lit(out, "+ Idling; DONE ends it\r\n");
    s->idling = true;
    s->news = s->news || s->selected.view.gone > 0; /* that NOTIFY's SELECTED-DELAYED has kept back */
    imap_reader_reset(s);
    return IMAP_INPUT;
}

/* RFC 4978 */
enum imap_request imap_command_compress(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str name;
    if (!imap_scan_space(scan) || !imap_scan_atom(scan, &name) || !imap_scan_end(scan) ||
        !str_equal_nocase(name, STR("DEFLATE"))) {
        return imap_bad(s, out, NULL, "COMPRESS takes DEFLATE");
    }
    if (s->compressed) {
        return imap_bad(s, out, NULL, "[COMPRESSIONACTIVE] DEFLATE is active already");
    }
    buf_append_lit(imap_reply_begin(s, "OK"), "DEFLATE is active");
    imap_reply_now(s, out);
    s->compressed = true;
    return IMAP_COMPRESS;
}
