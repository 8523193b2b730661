/* The IMAP server engine: commands are read, run and answered; see server.h. */
#include "imap/server_private.h"

#include "base/mem.h"
#include "sasl/sasl.h"

#include <stdio.h>

enum {
    ARENA_MAX = 1 << 20,
    GRANT_MAX = 64,
    LOGIN_MAX = 512,
    NAMES_MAX = 64 << 20,
    DISCARD_MAX = 64 << 20, /* octets of refused literals and lines, in one session */
    PROGRESS_MS = 10000,    /* RFC 9585, section 3: 10 to 15 seconds */
    REPLY_MAX = 16 << 20
};

struct imap_server *imap_server_new(const struct imap_settings *settings, bool tls, uint64_t now_ms)
{
    struct imap_server *s = mem_new(struct imap_server);
    if (s == NULL) {
        return NULL;
    }
    s->settings = settings;
    s->state = IMAP_NOT_AUTHENTICATED;
    s->tls = tls;
    s->waiting = IMAP_INPUT;
    s->opened_ms = s->activity_ms = s->now_ms = now_ms;
    s->close_reason = "";
    s->reader.text = buf_make(settings->append_max + 2 * IMAP_LINE_MAX);
    s->arena = arena_make(ARENA_MAX);
    s->reply = buf_make(REPLY_MAX);
    s->login_name = buf_make(SASL_NAME_MAX);
    s->login_password = buf_make(SASL_PASSWORD_MAX);
    s->login = buf_make(LOGIN_MAX);
    s->grant = buf_make(GRANT_MAX);
    s->wrong_door = buf_make(256);
    s->names = buf_make(NAMES_MAX);
    s->selected.name = buf_make(IMAP_NAME_MAX);
    s->selected.keywords = buf_make(IMAP_LINE_MAX);
    s->selected.vanished = buf_make(REPLY_MAX);
    s->new_from = SIZE_MAX;
    return s;
}

void imap_reader_reset(struct imap_server *s)
{
    buf_wipe(&s->reader.text);
    s->reader.line_at = 0;
}

void imap_forget_work(struct imap_server *s)
{
    if (s->free_data != NULL) {
        s->free_data(s->data);
    }
    mem_free(s->data);
    imap_leave_aside(s);
    s->data = NULL;
    s->free_data = NULL;
    s->message = NULL;
    s->bytes = NULL;
    s->annotation = NULL;
    s->rights = NULL;
    s->ask.aside = false;
    s->ask.deleted_octets = false;
    s->progress_done = 0;
    s->progress_goal = 0;
    s->row_count = 0;
    mem_free(s->rows);
    s->rows = NULL;
    s->row_room = 0;
    buf_free(&s->names);
    imap_set_free(&s->uids);
    imap_set_free(&s->numbers);
}

/* What belongs to the command that has ended. */
static void forget_command(struct imap_server *s)
{
    imap_forget_work(s);
    s->command = NULL;
    s->tag = STR_EMPTY;
    s->by_uid = false;
    s->before_command = false;
    s->own_change = false;
    s->all_flags = false;
    s->limited_uid = 0;
    buf_free(&s->reply);
    arena_free(&s->arena);
    imap_reader_reset(s);
}

bool imap_is_selected(const struct imap_server *s, struct str name)
{
    return s->state == IMAP_SELECTED && str_equal(name, buf_str(&s->selected.name));
}

bool imap_is_at_rest(const struct imap_server *s)
{
    const struct imap_reader *r = &s->reader;
    return s->command == NULL && s->sasl == NULL && r->text.len == 0 && r->literal_left == 0 &&
           r->discard_left == 0 && !r->discarding;
}

void imap_server_free(struct imap_server *s)
{
    if (s == NULL) {
        return;
    }
    forget_command(s);
    imap_notify_free(s);
    imap_deselect(s);
    imap_set_free(&s->context_good);
    buf_free(&s->login_name);
    buf_wipe(&s->login_password);
    buf_free(&s->login);
    buf_wipe(&s->grant);
    buf_free(&s->wrong_door);
    sasl_free(s->sasl);
    mem_free(s);
}

bool imap_is_enabled(const struct imap_server *s, unsigned what)
{
    return (s->enabled & what) != 0;
}

void imap_enable_condstore(struct imap_server *s)
{
    if (!imap_is_enabled(s, IMAP_ENABLED_CONDSTORE)) {
        s->enabled |= IMAP_ENABLED_CONDSTORE;
        s->selected.tell_modseq = s->state == IMAP_SELECTED;
    }
}

void *imap_command_data(struct imap_server *s, size_t size, void (*free_data)(void *data))
{
    s->data = mem_zalloc(1, size);
    s->free_data = s->data == NULL ? NULL : free_data;
    return s->data;
}

/* Replies. */

enum imap_request imap_ask(struct imap_server *s, enum imap_request request,
                           enum imap_request (*proceed)(struct imap_server *s, struct buf *out))
{
    s->proceed = proceed;
    s->answer = IMAP_UNAVAILABLE;
    s->value = 0;
    return request;
}

struct buf *imap_reply_begin(struct imap_server *s, const char *word)
{
    buf_clear(&s->reply);
    buf_append_str(&s->reply, s->tag);
    buf_append_char(&s->reply, ' ');
    buf_append_str(&s->reply, str_of(word));
    buf_append_char(&s->reply, ' ');
    return &s->reply;
}

static enum imap_request send_reply(struct imap_server *s, struct buf *out)
{
    if (buf_ok(&s->reply)) {
        buf_append_str(out, buf_str(&s->reply));
    } else {
        buf_append_str(out, s->tag);
        buf_append_lit(out, " NO [LIMIT] The answer does not fit into memory");
    }
    buf_append_lit(out, "\r\n");
    forget_command(s);
    return IMAP_INPUT;
}

void imap_reply_now(struct imap_server *s, struct buf *out)
{
    send_reply(s, out);
}

/* "[MESSAGELIMIT 1000 23221] ": the limit and the lowest UID that was worked on (RFC 9738). */
static void append_limit(const struct imap_server *s, struct buf *out)
{
    buf_append_lit(out, "[MESSAGELIMIT ");
    buf_append_u64(out, s->settings->message_limit);
    buf_append_char(out, ' ');
    buf_append_u64(out, s->limited_uid);
    buf_append_lit(out, "] The older messages were left out; name them in another command");
}

enum imap_request imap_reply_end(struct imap_server *s, struct buf *out)
{
    if (s->limited_uid != 0) { /* the tagged reply has a code of its own */
        buf_append_lit(out, "* NO ");
        append_limit(s, out);
        buf_append_lit(out, "\r\n");
        s->limited_uid = 0;
    }
    s->ask.aside = false;
    return s->state == IMAP_SELECTED ? imap_sync(s, out, send_reply) : send_reply(s, out);
}

static enum imap_request reply(struct imap_server *s, struct buf *out, const char *word, const char *code,
                               const char *text)
{
    struct buf *line = imap_reply_begin(s, word);
    buf_append_str(line, str_of(code));
    buf_append_str(line, str_of(text));
    return imap_reply_end(s, out);
}

enum imap_request imap_ok(struct imap_server *s, struct buf *out, const char *code, const char *text)
{
    if (s->limited_uid == 0 || code[0] != '\0') {
        return reply(s, out, "OK", code, text);
    }
    append_limit(s, imap_reply_begin(s, "OK"));
    s->limited_uid = 0;
    return imap_reply_end(s, out);
}

enum imap_request imap_no(struct imap_server *s, struct buf *out, const char *code, const char *text)
{
    s->limited_uid = 0;
    return reply(s, out, "NO", code, text);
}

enum imap_request imap_no_limit(struct imap_server *s, struct buf *out)
{
    char code[64];
    snprintf(code, sizeof(code), "[MESSAGELIMIT %u] ", s->settings->message_limit);
    return imap_no(s, out, code, "That is too much for one command; name fewer messages");
}

bool imap_is_over_limit(const struct imap_server *s, uint64_t messages)
{
    return s->settings->message_limit > 0 && messages > s->settings->message_limit;
}

bool imap_limit_set(struct imap_server *s, struct imap_set *uids)
{
    uint64_t size = imap_set_size(uids);
    struct imap_set kept = imap_set_make();
    bool fine = true;
    if (!imap_is_over_limit(s, size)) {
        return true;
    }
    uint64_t left_out = size - s->settings->message_limit;
    for (size_t r = 0; r < uids->count && fine; r++) {
        struct imap_range range = uids->ranges[r];
        uint64_t count = (uint64_t)range.last - range.first + 1;
        uint64_t skip = left_out < count ? left_out : count;
        left_out -= skip;
        if (skip < count) {
            s->limited_uid = kept.count == 0 ? range.first + (uint32_t)skip : s->limited_uid;
            fine = imap_set_append(&kept, range.first + (uint32_t)skip, range.last);
        }
    }
    imap_set_free(uids);
    *uids = kept;
    return fine;
}

enum imap_request imap_bad(struct imap_server *s, struct buf *out, const struct imap_scan *scan,
                           const char *text)
{
    struct buf *line = imap_reply_begin(s, "BAD");
    buf_append_str(line, str_of(text));
    if (scan != NULL && scan->why[0] != '\0') {
        buf_append_lit(line, "; expected ");
        buf_append_str(line, str_of(scan->why));
        if (scan->rest.len > 0) {
            buf_append_lit(line, " before: ");
            buf_append_escaped(line, str_sub(scan->rest, 0, str_find(scan->rest, 0, '\r')), 40);
        }
    }
    s->errors++;
    if (s->state == IMAP_NOT_AUTHENTICATED && s->errors >= s->settings->errors) {
        send_reply(s, out);
        return imap_bye(s, out, "Too many commands that are none", "too many errors");
    }
    return send_reply(s, out);
}

enum imap_request imap_no_answer(struct imap_server *s, struct buf *out, enum imap_answer answer,
                                 bool try_create)
{
    switch (answer) {
    case IMAP_DONE: break;
    case IMAP_NONEXISTENT:
        return try_create ? imap_no(s, out, "[TRYCREATE] ", "There is no such mailbox; create it first")
                          : imap_no(s, out, "[NONEXISTENT] ", "There is no such mailbox");
    case IMAP_ALREADY_EXISTS:
        return imap_no(s, out, "[ALREADYEXISTS] ", "There is a mailbox of this name already");
    case IMAP_OVER_QUOTA:
        return imap_no(s, out, "[OVERQUOTA] ", "The mailbox is full; delete something first");
    case IMAP_HAS_CHILDREN: return imap_no(s, out, "[HASCHILDREN] ", "There are mailboxes below it");
    case IMAP_NOBODY: return imap_no(s, out, "[CANNOT] ", "There is no account of this name");
    case IMAP_NO_PERMISSION: return imap_no(s, out, "[NOPERM] ", "You may not do that here");
    case IMAP_GONE: return imap_no(s, out, "[EXPUNGEISSUED] ", "That message is not there any more");
    case IMAP_CANNOT: return imap_no(s, out, "[CANNOT] ", "That cannot be done with this mailbox");
    case IMAP_LIMIT: return imap_no(s, out, "[LIMIT] ", "That is more than the server allows");
    case IMAP_UNAVAILABLE: break;
    }
    return imap_no(s, out, "[UNAVAILABLE] ", "The server cannot do that now; try again later");
}

enum imap_request imap_bye(struct imap_server *s, struct buf *out, const char *text, const char *reason)
{
    buf_append_lit(out, "* BYE ");
    buf_append_str(out, str_of(text));
    buf_append_lit(out, "\r\n");
    s->closed = true;
    s->close_reason = reason;
    return IMAP_CLOSE;
}

/* Arguments that many commands have. */

bool imap_take_set(struct imap_server *s, struct imap_scan *scan, struct buf *out, enum imap_request *request)
{
    struct str text;
    const struct imap_view *view = &s->selected.view;
    if (!imap_scan_space(scan) || !imap_scan_set(scan, &text)) {
        *request = imap_bad(s, out, scan, "This command names messages first");
        return false;
    }
    if (text.data[0] == '$') {
        if (!imap_view_existing(view, &s->selected.saved, &s->uids)) {
            *request = imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
            return false;
        }
        return true;
    }
    uint32_t star = s->by_uid ? imap_view_last_uid(view) : (uint32_t)view->count;
    enum imap_set_result result = imap_set_parse(&s->numbers, text, star);
    bool beyond = !s->by_uid && imap_set_max(&s->numbers) > view->count;
    if (result == IMAP_SET_MALFORMED || beyond || (!s->by_uid && view->count == 0)) {
        *request = imap_bad(s, out, NULL,
                            beyond || view->count == 0 ? "There is no message of that number"
                                                       : "That is not a set of message numbers");
        return false;
    }
    bool fine = result == IMAP_SET_GOOD && (s->by_uid ? imap_view_existing(view, &s->numbers, &s->uids)
                                                      : imap_view_to_uids(view, &s->numbers, &s->uids));
    if (!fine) {
        *request = imap_no_answer(s, out, result == IMAP_SET_TOO_LONG ? IMAP_LIMIT : IMAP_UNAVAILABLE, false);
    }
    return fine;
}

/* Commands. */

static const struct imap_command *find_command(struct str name)
{
    for (size_t i = 0; i < imap_command_count; i++) {
        if (str_equal_nocase(imap_commands[i].name, name)) {
            return &imap_commands[i];
        }
    }
    return NULL;
}

/* Reads "tag [UID] name" from the front. False: there is no tag. The command may be NULL. */
static bool take_name(struct imap_scan *scan, struct str *tag, bool *by_uid,
                      const struct imap_command **command)
{
    struct str name;
    *by_uid = false;
    *command = NULL;
    if (!imap_scan_tag(scan, tag) || !imap_scan_space(scan)) {
        return false;
    }
    if (!imap_scan_atom(scan, &name)) {
        return true;
    }
    if (str_equal_nocase(name, STR("UID"))) {
        *by_uid = true;
        if (!imap_scan_space(scan) || !imap_scan_atom(scan, &name)) {
            return true;
        }
    }
    *command = find_command(name);
    if (*command != NULL && *by_uid && ((*command)->flags & IMAP_BY_UID) == 0) {
        *command = NULL;
    }
    return true;
}

/* Says where the client should go, for it and for the log; the session is over. */
static enum imap_request show_door(struct imap_server *s, struct buf *out, const char *reason)
{
    char text[256];
    struct str said = str_sub(buf_str(&s->wrong_door), 0, sizeof(text) - 1);
    memcpy(text, said.data, said.len);
    text[said.len] = '\0';
    return imap_bye(s, out, text, reason);
}

static enum imap_request wrong_state(struct imap_server *s, struct buf *out)
{
    if (s->state == IMAP_NOT_AUTHENTICATED) {
        return imap_no(s, out, "", "Log in first");
    }
    return s->state == IMAP_SELECTED || (s->command->states & IMAP_NOT_AUTHENTICATED) != 0
               ? imap_bad(s, out, NULL, "You are logged in already")
               : imap_bad(s, out, NULL, "Select a mailbox first");
}

/*
 * What is known to have changed is looked at first, so that a search finds it. Nothing is told to be expunged before the
 * command has run: its numbers are those that the client knows.
 */
static enum imap_request run_after_news(struct imap_server *s, struct buf *out)
{
    struct imap_scan scan = imap_scan_make(buf_str(&s->reader.text), &s->arena,
                                           imap_is_enabled(s, IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2));
    struct str tag;
    s->before_command = false;
    take_name(&scan, &tag, &s->by_uid, &s->command);
    return s->command == NULL ? imap_bad(s, out, NULL, "Unknown command") : s->command->run(s, &scan, out);
}

static enum imap_request run_command(struct imap_server *s, struct buf *out)
{
    struct imap_scan scan = imap_scan_make(buf_str(&s->reader.text), &s->arena,
                                           imap_is_enabled(s, IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2));
    enum door spoken = s->state == IMAP_NOT_AUTHENTICATED ? door_of_line(scan.rest) : DOOR_NONE;
    if (spoken != DOOR_NONE && spoken != DOOR_IMAP) {
        doors_append_wrong(&s->settings->doors, DOOR_IMAP, spoken, &s->wrong_door);
        return show_door(s, out, "another protocol was spoken");
    }
    if (!take_name(&scan, &s->tag, &s->by_uid, &s->command)) {
        s->tag = STR("*");
        return imap_bad(s, out, &scan, "A command begins with a tag and a space");
    }
    s->tag = arena_copy(&s->arena, s->tag);
    if (s->tag.data == NULL) {
        return imap_bye(s, out, "Out of memory; try again later", "out of memory");
    }
    if (s->command == NULL) {
        return imap_bad(s, out, NULL, "There is no such command");
    }
    if ((s->command->states & s->state) == 0) {
        return wrong_state(s, out);
    }
    if (imap_is_enabled(s, IMAP_ENABLED_UIDONLY) && (s->command->flags & IMAP_BY_NUMBER) != 0 && !s->by_uid) {
        return imap_bad(s, out, NULL, "[UIDREQUIRED] UIDONLY is enabled: put UID before the command");
    }
    s->progress_ms = s->now_ms;
    if (s->state == IMAP_SELECTED && s->news) {
        s->before_command = true;
        return imap_sync(s, out, run_after_news);
    }
    return s->command->run(s, &scan, out);
}

/* Reading. */

static bool command_is_large(const struct imap_server *s)
{
    struct imap_scan scan = imap_scan_make(buf_str(&s->reader.text), NULL, false);
    struct str tag;
    bool by_uid;
    const struct imap_command *command;
    return s->state != IMAP_NOT_AUTHENTICATED && take_name(&scan, &tag, &by_uid, &command) &&
           command != NULL && (command->flags & IMAP_LARGE) != 0;
}

/*
 * What is refused and not waited for is read and thrown away, so that it is not taken for commands; so are the literals that
 * the rest of that line announces. A session may do so only for so many octets, however well they were compressed.
 */
static bool discard(struct imap_server *s, uint64_t size)
{
    if (size > DISCARD_MAX || s->reader.discarded + size > DISCARD_MAX) {
        return false;
    }
    s->reader.discarded += size;
    s->reader.discard_left = size;
    s->reader.discarding = true;
    s->reader.tail_len = 0;
    return true;
}

static enum imap_request bye_discarded(struct imap_server *s, struct buf *out)
{
    return imap_bye(s, out, "[TOOBIG] Too much of what you sent had to be thrown away",
                    "too much that was refused and sent all the same");
}

/* A literal that is too large: refused before it is sent, or read and thrown away where the client did not wait (RFC 7888). */
static enum imap_request refuse_literal(struct imap_server *s, uint64_t size, bool waits, struct buf *out)
{
    struct imap_scan scan = imap_scan_make(buf_str(&s->reader.text), NULL, false);
    if (!imap_scan_tag(&scan, &s->tag)) {
        s->tag = STR("*");
    }
    if (!waits && !discard(s, size)) {
        return bye_discarded(s, out);
    }
    return imap_no(s, out, "[TOOBIG] ", "That is larger than this server takes");
}

static enum imap_request begin_literal(struct imap_server *s, uint64_t size, bool waits, struct buf *out)
{
    struct imap_reader *r = &s->reader;
    uint64_t small = s->state == IMAP_NOT_AUTHENTICATED ? IMAP_LITERAL_BEFORE_LOGIN_MAX : IMAP_LINE_MAX;
    uint64_t limit = command_is_large(s) ? s->settings->append_max : small;
    if (size > limit || (limit == small && r->text.len + size > small) ||
        (r->text.len + size > r->text.limit)) {
        return refuse_literal(s, size, waits, out);
    }
    if (buf_reserve(&r->text, (size_t)size + 512) == NULL) {
        buf_clear(&r->text);
        return refuse_literal(s, size, waits, out);
    }
    r->literal_left = size;
    r->line_at = r->text.len + (size_t)size;
    if (waits) {
        buf_append_lit(out, "+ Go on\r\n");
    }
    return IMAP_INPUT;
}

/* A whole line is at the end of the text, without its line end. */
static enum imap_request line_came(struct imap_server *s, struct buf *out)
{
    uint64_t size;
    bool waits;
    struct str line = str_from(buf_str(&s->reader.text), s->reader.line_at);
    if (s->idling) {
        s->idling = false;
        return str_equal_nocase(line, STR("DONE")) ? imap_ok(s, out, "", "Idle no more")
                                                   : imap_bad(s, out, NULL, "IDLE ends with DONE");
    }
    if (s->sasl != NULL) {
        return imap_auth_response(s, line, out);
    }
    if (imap_scan_literal_end(line, &size, &waits)) {
        return buf_append_lit(&s->reader.text, "\r\n") ? begin_literal(s, size, waits, out)
                                                       : imap_no_answer(s, out, IMAP_LIMIT, false);
    }
    if (imap_quirk_is_no_command(buf_str(&s->reader.text))) {
        imap_reader_reset(s);
        return IMAP_INPUT;
    }
    s->reader.text.len = imap_quirk_trim(buf_str(&s->reader.text), s->reader.line_at).len;
    return run_command(s, out);
}

/* Keeps the last octets of a line that comes in pieces. */
static void keep_tail(struct imap_reader *r, struct str part)
{
    part = str_from(part, part.len > sizeof(r->tail) ? part.len - sizeof(r->tail) : 0);
    size_t kept = sizeof(r->tail) - part.len < r->tail_len ? sizeof(r->tail) - part.len : r->tail_len;
    memmove(r->tail, r->tail + r->tail_len - kept, kept);
    memcpy(r->tail + kept, part.data, part.len);
    r->tail_len = kept + part.len;
}

/* The end of a line that is thrown away. False: it announces more than may be thrown away. */
static bool line_discarded(struct imap_server *s)
{
    struct imap_reader *r = &s->reader;
    struct str tail = str_make(r->tail, r->tail_len);
    uint64_t size;
    bool waits;
    if (tail.len > 0 && tail.data[tail.len - 1] == '\r') {
        tail.len--;
    }
    r->discarding = imap_scan_literal_end(tail, &size, &waits) && !waits;
    return !r->discarding || discard(s, size);
}

static enum imap_request line_too_long(struct imap_server *s, struct str part, bool ended, struct buf *out)
{
    struct imap_scan scan = imap_scan_make(buf_str(&s->reader.text), NULL, false);
    if (!imap_scan_tag(&scan, &s->tag)) {
        s->tag = STR("*");
    }
    if (s->state == IMAP_NOT_AUTHENTICATED) {
        return imap_bye(s, out, "That line is too long", "line too long");
    }
    s->reader.tail_len = 0;
    s->reader.discarding = true;
    keep_tail(&s->reader, str_from(buf_str(&s->reader.text), s->reader.line_at));
    keep_tail(&s->reader, part);
    enum imap_request request = imap_bad(s, out, NULL, "That line is too long");
    return ended && !line_discarded(s) ? bye_discarded(s, out) : request;
}

static enum imap_request read_line(struct imap_server *s, struct str *input, struct buf *out)
{
    struct imap_reader *r = &s->reader;
    size_t newline = str_find(*input, 0, '\n');
    size_t take = newline == SIZE_MAX ? input->len : newline;
    struct str part = str_sub(*input, 0, take);
    size_t limit = s->state == IMAP_NOT_AUTHENTICATED ? IMAP_LINE_BEFORE_LOGIN_MAX : IMAP_LINE_MAX;
    *input = str_from(*input, newline == SIZE_MAX ? take : take + 1);
    if (r->discarding) {
        keep_tail(r, part);
        r->discarded += part.len;
        return r->discarded <= DISCARD_MAX && (newline == SIZE_MAX || line_discarded(s))
                   ? IMAP_INPUT
                   : bye_discarded(s, out);
    }
    size_t line = r->text.len - (s->state == IMAP_NOT_AUTHENTICATED ? 0 : r->line_at);
    if (line + part.len > limit) {
        return line_too_long(s, part, newline != SIZE_MAX, out);
    }
    if (!buf_append_str(&r->text, part)) {
        return imap_bye(s, out, "Out of memory; try again later", "out of memory");
    }
    if (newline == SIZE_MAX) {
        return IMAP_INPUT;
    }
    if (r->text.len > 0 && r->text.data[r->text.len - 1] == '\r') {
        r->text.len--;
    }
    return line_came(s, out);
}

static enum imap_request read_input(struct imap_server *s, struct str *input, struct buf *out)
{
    struct imap_reader *r = &s->reader;
    uint64_t *left = r->discard_left > 0 ? &r->discard_left : &r->literal_left;
    s->activity_ms = s->now_ms;
    if (*left > 0) {
        struct str part = str_sub(*input, 0, *left < input->len ? (size_t)*left : input->len);
        *input = str_from(*input, part.len);
        if (left == &r->literal_left && !buf_append_str(&r->text, part)) {
            return imap_bye(s, out, "Out of memory; try again later", "out of memory");
        }
        *left -= part.len;
        return IMAP_INPUT;
    }
    return read_line(s, input, out);
}

static enum imap_request tls_to_plain(struct imap_server *s, struct buf *out)
{
    doors_append_tls(&s->settings->doors, DOOR_IMAP, &s->wrong_door);
    return show_door(s, out, "TLS spoken to a plain port");
}

/* Requests after which the role goes on without giving an answer. */
static bool is_answered_by_running(enum imap_request request)
{
    return request == IMAP_INPUT || request == IMAP_DRAIN || request == IMAP_SHUT || request == IMAP_COMPRESS;
}

enum imap_request imap_server_start(struct imap_server *s, struct str early, struct buf *out)
{
    if (!s->tls && door_is_tls(early)) {
        return tls_to_plain(s, out);
    }
    buf_append_lit(out, "* OK ");
    imap_capability_code(s, out);
    buf_append_str(out, s->settings->hostname);
    buf_append_lit(out, " IMAP Veredus\r\n");
    return IMAP_INPUT;
}

enum imap_request imap_server_run(struct imap_server *s, uint64_t now_ms, uint64_t wall_ms, struct str *input,
                                  struct buf *out)
{
    s->now_ms = now_ms;
    s->wall_ms = wall_ms;
    if (!is_answered_by_running(s->waiting)) {
        return s->waiting;
    }
    s->waiting = IMAP_INPUT;
    if (s->has_next && s->next != IMAP_INPUT) {
        s->has_next = false;
        s->waiting = s->next;
        return s->next;
    }
    s->has_next = false;
    for (;;) {
        enum imap_request request;
        if (s->closed) {
            return IMAP_CLOSE;
        }
        if (s->proceed != NULL) {
            enum imap_request (*proceed)(struct imap_server *, struct buf *) = s->proceed;
            s->proceed = NULL;
            request = proceed(s, out);
        } else if (imap_notify_is_due(s)) {
            request = imap_notify_tell(s, out);
        } else if (input->len > 0) {
            if (!s->tls && s->state == IMAP_NOT_AUTHENTICATED && s->reader.text.len == 0 &&
                door_is_tls(*input)) {
                return tls_to_plain(s, out);
            }
            request = read_input(s, input, out);
        } else {
            return IMAP_INPUT;
        }
        if (request == IMAP_INPUT && out->len > IMAP_CHUNK) {
            request = IMAP_DRAIN; /* a client that pipelines has to read, too */
        }
        if (request != IMAP_INPUT) {
            s->waiting = request;
            return request;
        }
    }
}

/* Answers. */

const struct imap_ask *imap_server_ask(const struct imap_server *s)
{
    return &s->ask;
}

enum imap_request imap_server_waiting(const struct imap_server *s)
{
    return s->waiting;
}

struct str imap_server_login_name(const struct imap_server *s)
{
    return buf_str(&s->login_name);
}

struct str imap_server_login_password(const struct imap_server *s)
{
    return buf_str(&s->login_password);
}

struct str imap_server_grant(const struct imap_server *s)
{
    return buf_str(&s->grant);
}

const char *imap_server_close_reason(const struct imap_server *s)
{
    return s->close_reason;
}

struct str imap_server_wrong_door(const struct imap_server *s)
{
    return buf_str(&s->wrong_door);
}

void imap_server_verified(struct imap_server *s, enum imap_auth_answer answer, struct str login,
                          struct str grant, struct buf *out)
{
    buf_wipe(&s->login_password);
    s->waiting = IMAP_INPUT;
    buf_clear(&s->login);
    buf_clear(&s->grant);
    if (answer == IMAP_AUTH_GOOD && !(buf_append_str(&s->login, login) && buf_append_str(&s->grant, grant))) {
        answer = IMAP_AUTH_TEMPORARY;
    }
    imap_login_answered(s, answer, out);
}

bool imap_server_row(struct imap_server *s, const struct imap_row *row)
{
    if (s->row_count == s->row_room) {
        size_t room = s->row_room == 0 ? 16 : s->row_room * 2;
        struct imap_kept_row *rows = mem_realloc(s->rows, room * sizeof(*rows));
        if (rows == NULL) {
            return false;
        }
        s->rows = rows;
        s->row_room = room;
    }
    struct imap_kept_row kept = {
        .row = *row, .name_at = s->names.len, .keywords_at = s->names.len + row->name.len};
    if (!buf_append_str(&s->names, row->name) || !buf_append_str(&s->names, row->keywords)) {
        return false;
    }
    s->rows[s->row_count++] = kept;
    return true;
}

/* Names may have moved while rows came. */
void imap_settle_rows(struct imap_server *s)
{
    for (size_t i = 0; i < s->row_count; i++) {
        struct imap_kept_row *kept = &s->rows[i];
        kept->row.name.data = s->names.data + kept->name_at;
        kept->row.keywords.data = s->names.data + kept->keywords_at;
    }
}

bool imap_server_entries(struct imap_server *s, const struct imap_run *run)
{
    return imap_view_merge(&s->selected.view, run,
                           imap_is_enabled(s, IMAP_ENABLED_CONDSTORE) ? IMAP_ANNOUNCE_ALL
                                                                      : IMAP_ANNOUNCE_FLAGS);
}

bool imap_server_vanished(struct imap_server *s, uint32_t first_uid, uint32_t last_uid)
{
    struct imap_range range = {first_uid, last_uid};
    imap_view_vanish(&s->selected.view, &range);
    return true;
}

bool imap_server_message(struct imap_server *s, const struct imap_message *message, struct buf *out)
{
    return s->message == NULL || s->message(s, message, out);
}

bool imap_server_bytes(struct imap_server *s, struct str bytes, bool last, struct buf *out)
{
    return s->bytes == NULL || s->bytes(s, bytes, last, out);
}

bool imap_server_annotation(struct imap_server *s, struct str mailbox, struct str entry, struct str value)
{
    return s->annotation == NULL || s->annotation(s, mailbox, entry, value);
}

bool imap_server_rights(struct imap_server *s, struct str identifier, uint32_t rights)
{
    return s->rights == NULL || s->rights(s, identifier, rights);
}

/* `proceed` runs now, while the slices of what came live; what it asks for stands in `waiting`. */
static void proceed_now(struct imap_server *s, struct buf *out)
{
    enum imap_request (*proceed)(struct imap_server *, struct buf *) = s->proceed;
    s->waiting = IMAP_INPUT;
    s->proceed = NULL;
    if (proceed != NULL) {
        s->next = proceed(s, out);
        s->has_next = true;
    }
}

void imap_server_opened(struct imap_server *s, enum imap_answer answer, const struct imap_row *row,
                        struct buf *out)
{
    s->answer = answer;
    s->row_count = 0;
    buf_clear(&s->names);
    if (answer == IMAP_DONE && !imap_server_row(s, row)) {
        s->answer = IMAP_UNAVAILABLE;
    }
    imap_settle_rows(s);
    proceed_now(s, out);
}

void imap_server_changed(struct imap_server *s, const struct imap_changed *changed, struct buf *out)
{
    s->answer = changed->answer;
    s->changed = *changed;
    imap_notify_own(s, changed);
    proceed_now(s, out);
    s->changed = (struct imap_changed){.answer = changed->answer};
}

void imap_server_answered(struct imap_server *s, enum imap_answer answer, uint64_t value, struct buf *out)
{
    s->answer = answer;
    s->value = value;
    imap_settle_rows(s);
    proceed_now(s, out);
}

void imap_server_tls_started(struct imap_server *s, uint64_t now_ms)
{
    s->waiting = IMAP_INPUT;
    s->tls = true;
    s->activity_ms = now_ms;
    buf_wipe(&s->reader.text);
    buf_free(&s->login_name);
}

void imap_server_quota(struct imap_server *s, uint64_t used_octets, uint64_t quota_octets)
{
    s->used_octets = used_octets;
    s->quota_octets = quota_octets;
}

void imap_server_keywords(struct imap_server *s, struct str keywords)
{
    if (!str_equal(keywords, buf_str(&s->selected.keywords))) {
        buf_clear(&s->selected.keywords);
        buf_append_str(&s->selected.keywords, keywords);
        s->selected.new_keywords = true;
    }
}

void imap_server_own_rights(struct imap_server *s, uint32_t rights)
{
    if (rights != s->selected.rights) {
        s->selected.rights = rights;
        s->selected.new_keywords = true;
    }
}

void imap_server_news(struct imap_server *s)
{
    s->news = true;
}

bool imap_server_takes(const struct imap_server *s, const struct buf *out)
{
    (void)s;
    return out->len < 4 * (size_t)IMAP_CHUNK;
}

/* Time. */

uint64_t imap_server_deadline(const struct imap_server *s)
{
    if (s->state != IMAP_NOT_AUTHENTICATED) {
        return s->activity_ms + s->settings->idle_timeout_ms;
    }
    uint64_t idle = s->activity_ms + s->settings->login_timeout_ms;
    uint64_t whole = s->opened_ms + 2 * s->settings->login_timeout_ms;
    return idle < whole ? idle : whole;
}

/* Where a line may stand: FETCH may be in the middle of a literal. */
static bool is_between_lines(const struct imap_server *s)
{
    return s->waiting == IMAP_CHANGE || s->waiting == IMAP_APPEND ||
           (s->waiting == IMAP_MESSAGES && s->progress_goal > 0);
}

bool imap_server_progress(struct imap_server *s, uint64_t now_ms, struct buf *out)
{
    if (s->closed || s->command == NULL || now_ms < s->progress_ms + PROGRESS_MS || !is_between_lines(s)) {
        return false;
    }
    s->progress_ms = now_ms;
    buf_append_lit(out, "* OK [INPROGRESS (\"");
    buf_append_str(out, s->tag);
    buf_append_lit(out, "\" ");
    if (s->progress_goal > 0) {
        buf_append_u64(out, s->progress_done);
        buf_append_char(out, ' ');
        buf_append_u64(out, s->progress_goal);
    } else {
        buf_append_lit(out, "NIL NIL");
    }
    buf_append_lit(out, ")] Still at it\r\n");
    return true;
}

void imap_server_expire(struct imap_server *s, struct buf *out)
{
    if (s->closed || s->waiting == IMAP_CHANGE || s->waiting == IMAP_APPEND) {
        return;
    }
    s->waiting = IMAP_INPUT;
    if (s->command != NULL && !s->idling) {
        s->closed = true; /* words in the middle of a reply would become part of it */
        s->close_reason = "the client does not read";
        return;
    }
    imap_bye(s, out, "No command came in time", "idle");
}

bool imap_server_shutdown(struct imap_server *s, struct buf *out)
{
    if (s->closed) {
        return true;
    }
    if (s->waiting == IMAP_CHANGE || s->waiting == IMAP_APPEND) {
        return false;
    }
    if (s->command != NULL && !s->idling) {
        s->closed = true;
        s->close_reason = "the server stops";
    } else {
        imap_bye(s, out, "The server is stopping; connect again in a moment", "the server stops");
    }
    s->waiting = IMAP_INPUT;
    return true;
}
