/* The TRANSACTION and UPDATE states of POP3: what a client does with its mailbox. */
#include "pop3/server_private.h"

#include "base/mem.h"

/* Opening. */

bool pop3_server_entry(struct pop3_server *s, uint32_t uid, uint64_t size)
{
    if (s->message_count == s->message_room) {
        size_t room = s->message_room == 0 ? 16 : s->message_room * 2;
        struct pop3_message *grown =
            room > POP3_MESSAGES_MAX * 2 ? NULL : mem_realloc(s->messages, room * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        s->messages = grown;
        s->message_room = room;
    }
    if (s->message_count == POP3_MESSAGES_MAX) {
        return true; /* the rest shows when these are gone */
    }
    s->messages[s->message_count++] = (struct pop3_message){.uid = uid, .size = size};
    return true;
}

/* The number and size of what is not deleted. */
static void count_messages(const struct pop3_server *s, uint64_t *count, uint64_t *octets)
{
    *count = 0;
    *octets = 0;
    for (size_t i = 0; i < s->message_count; i++) {
        if (!s->messages[i].deleted) {
            ++*count;
            *octets += s->messages[i].size;
        }
    }
}

static void append_counts(const struct pop3_server *s, const char *between, const char *after,
                          struct buf *out)
{
    uint64_t count;
    uint64_t octets;
    count_messages(s, &count, &octets);
    buf_append_lit(out, "+OK ");
    buf_append_u64(out, count);
    buf_append_str(out, str_of(between));
    buf_append_u64(out, octets);
    buf_append_str(out, str_of(after));
    buf_append_lit(out, "\r\n");
}

void pop3_server_opened(struct pop3_server *s, enum pop3_open_answer answer, uint32_t uid_validity,
                        struct buf *out)
{
    if (s->waiting != POP3_OPEN) {
        return;
    }
    s->waiting = POP3_INPUT;
    if (answer == POP3_OPENED) {
        s->opened = true;
        s->state = POP3_TRANSACTION;
        s->uid_validity = uid_validity;
        append_counts(s, " messages (", " octets)", out);
        return;
    }
    s->message_count = 0;
    if (answer == POP3_IN_USE) {
        pop3_error(s, out, "[IN-USE] Another session has this mailbox open; try again when it is over");
    } else {
        pop3_error(s, out, "[SYS/TEMP] The mailbox cannot be opened now; try again later");
    }
}

/* Message numbers. */

/* NULL after the reply that says why. */
static struct pop3_message *take_message(struct pop3_server *s, struct str argument, struct buf *out)
{
    uint64_t number = 0;
    if (!str_to_u64(argument, UINT32_MAX, &number) || number == 0) {
        pop3_error(s, out, "A message number is needed");
        return NULL;
    }
    if (number > s->message_count) {
        pop3_error(s, out, "There is no such message");
        return NULL;
    }
    struct pop3_message *message = &s->messages[number - 1];
    if (message->deleted) {
        pop3_error(s, out, "This message has been deleted");
        return NULL;
    }
    return message;
}

static void append_hex(struct buf *out, uint32_t value)
{
    static const char digits[] = "0123456789abcdef";
    for (int shift = 28; shift >= 0; shift -= 4) {
        buf_append_char(out, digits[value >> shift & 15]);
    }
}

/* "number size" or "number unique-id", without the end of the line. */
static void append_listing(const struct pop3_server *s, const struct pop3_message *message, bool uids,
                           struct buf *out)
{
    buf_append_u64(out, (uint64_t)(message - s->messages) + 1);
    buf_append_char(out, ' ');
    if (uids) {
        append_hex(out, s->uid_validity);
        append_hex(out, message->uid);
    } else {
        buf_append_u64(out, message->size);
    }
}

enum pop3_request pop3_continue_list(struct pop3_server *s, struct buf *out)
{
    while (s->list_at < s->message_count) {
        const struct pop3_message *message = &s->messages[s->list_at++];
        if (!message->deleted) {
            append_listing(s, message, s->list_uids, out);
            buf_append_lit(out, "\r\n");
        }
        if (out->len > POP3_CHUNK) {
            return POP3_DRAIN;
        }
    }
    buf_append_lit(out, ".\r\n");
    s->state = POP3_TRANSACTION;
    return POP3_INPUT;
}

static enum pop3_request command_list(struct pop3_server *s, struct str argument, bool uids, struct buf *out)
{
    if (argument.len > 0) {
        const struct pop3_message *message = take_message(s, argument, out);
        if (message != NULL) {
            buf_append_lit(out, "+OK ");
            append_listing(s, message, uids, out);
            buf_append_lit(out, "\r\n");
        }
        return POP3_INPUT;
    }
    if (uids) {
        pop3_ok(out, "Unique ids follow");
    } else {
        append_counts(s, " messages (", " octets)", out);
    }
    s->list_at = 0;
    s->list_uids = uids;
    s->state = POP3_LISTING;
    return POP3_INPUT;
}

/* Messages. */

static enum pop3_request begin_message(struct pop3_server *s, const struct pop3_message *message,
                                       struct buf *out)
{
    buf_append_lit(out, "+OK ");
    if (s->limited) {
        buf_append_lit(out, "Top of the message follows\r\n");
    } else {
        buf_append_u64(out, message->size);
        buf_append_lit(out, " octets\r\n");
    }
    s->read_uid = message->uid;
    s->read_size = message->size;
    s->read_offset = 0;
    s->line_start = true;
    s->line_blank = true;
    s->in_body = false;
    s->state = POP3_SENDING;
    return POP3_INPUT;
}

static enum pop3_request command_retr(struct pop3_server *s, struct str argument, struct buf *out)
{
    const struct pop3_message *message = take_message(s, argument, out);
    s->limited = false;
    return message == NULL ? POP3_INPUT : begin_message(s, message, out);
}

static enum pop3_request command_top(struct pop3_server *s, struct str argument, struct buf *out)
{
    size_t blank = str_find(argument, 0, ' ');
    uint64_t lines = 0;
    if (blank == SIZE_MAX || !str_to_u64(str_trim(str_from(argument, blank)), UINT32_MAX, &lines)) {
        pop3_error(s, out, "TOP takes a message number and a number of lines");
        return POP3_INPUT;
    }
    const struct pop3_message *message = take_message(s, str_sub(argument, 0, blank), out);
    s->limited = true;
    s->lines_left = lines;
    return message == NULL ? POP3_INPUT : begin_message(s, message, out);
}

static void end_message(struct pop3_server *s, struct buf *out)
{
    if (!s->line_start) {
        buf_append_lit(out, "\r\n");
    }
    buf_append_lit(out, ".\r\n");
    s->state = POP3_TRANSACTION;
}

enum pop3_request pop3_continue_message(struct pop3_server *s, struct buf *out)
{
    if (s->read_offset >= s->read_size) {
        end_message(s, out);
        return POP3_INPUT;
    }
    uint64_t left = s->read_size - s->read_offset;
    s->read_length = left < POP3_CHUNK ? (uint32_t)left : POP3_CHUNK;
    return POP3_READ;
}

/* One line, or a part of one, with its dot stuffed. False: TOP has all it wants. */
static bool append_line(struct pop3_server *s, struct str line, struct buf *out)
{
    if (s->limited && s->in_body && s->line_start) {
        if (s->lines_left == 0) {
            return false;
        }
        s->lines_left--;
    }
    if (s->line_start && line.data[0] == '.') {
        buf_append_char(out, '.');
    }
    buf_append_str(out, line);
    s->line_start = line.data[line.len - 1] == '\n';
    s->line_blank = s->line_blank && (str_equal(line, STR("\r\n")) || str_equal(line, STR("\n")) ||
                                      str_equal(line, STR("\r")));
    s->in_body = s->in_body || (s->line_start && s->line_blank);
    s->line_blank = s->line_blank || s->line_start;
    return true;
}

void pop3_server_bytes(struct pop3_server *s, bool fine, struct str bytes, struct buf *out)
{
    if (s->waiting != POP3_READ) {
        return;
    }
    s->waiting = POP3_INPUT;
    if (!fine || bytes.len == 0 || bytes.len > s->read_length) {
        /* "+OK" has been said: only the end of the connection tells the client that this is not the message. */
        s->state = POP3_CLOSED;
        s->close_reason = "a message could not be read";
        return;
    }
    s->read_offset += bytes.len;
    while (bytes.len > 0) {
        size_t newline = str_find(bytes, 0, '\n');
        size_t take = newline == SIZE_MAX ? bytes.len : newline + 1;
        if (!append_line(s, str_sub(bytes, 0, take), out)) {
            s->read_offset = s->read_size;
            break;
        }
        bytes = str_from(bytes, take);
    }
    if (!buf_ok(out)) {
        s->state = POP3_CLOSED;
        s->close_reason = "out of memory";
    }
}

/* Removal. */

static enum pop3_request command_dele(struct pop3_server *s, struct str argument, struct buf *out)
{
    struct pop3_message *message = take_message(s, argument, out);
    if (message != NULL) {
        message->deleted = true;
        s->deleted_count++;
        pop3_ok(out, "Deleted; it goes at QUIT");
    }
    return POP3_INPUT;
}

static enum pop3_request command_rset(struct pop3_server *s, struct buf *out)
{
    for (size_t i = 0; i < s->message_count; i++) {
        s->messages[i].deleted = false;
    }
    s->deleted_count = 0;
    append_counts(s, " messages (", " octets)", out);
    return POP3_INPUT;
}

/* Also with nothing to remove: the mailbox is free again before the client hears so, who may come back at once. */
static enum pop3_request command_quit(struct pop3_server *s, struct buf *out)
{
    (void)s;
    (void)out;
    return POP3_EXPUNGE;
}

void pop3_server_expunged(struct pop3_server *s, bool fine, struct buf *out)
{
    if (s->waiting != POP3_EXPUNGE) {
        return;
    }
    s->waiting = POP3_INPUT;
    if (fine || s->deleted_count == 0) {
        pop3_ok(out, "Bye");
    } else {
        buf_append_lit(
            out, "-ERR [SYS/TEMP] Some deleted messages were not removed; they show again next time\r\n");
    }
    s->state = POP3_CLOSED;
    s->close_reason = "quit";
}

enum pop3_request pop3_command_mailbox(struct pop3_server *s, struct str verb, struct str argument,
                                       struct buf *out)
{
    static const struct {
        const char *verb;
        enum pop3_request (*run)(struct pop3_server *s, struct str argument, struct buf *out);
    } commands[] = {{"RETR", command_retr}, {"TOP", command_top}, {"DELE", command_dele}};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (str_equal_nocase(verb, str_of(commands[i].verb))) {
            return commands[i].run(s, argument, out);
        }
    }
    if (str_equal_nocase(verb, STR("STAT"))) {
        append_counts(s, " ", "", out);
    } else if (str_equal_nocase(verb, STR("LIST")) || str_equal_nocase(verb, STR("UIDL"))) {
        return command_list(s, argument, ascii_lower(verb.data[0]) == 'u', out);
    } else if (str_equal_nocase(verb, STR("RSET"))) {
        return command_rset(s, out);
    } else if (str_equal_nocase(verb, STR("NOOP"))) {
        pop3_ok(out, "Done");
    } else if (str_equal_nocase(verb, STR("QUIT"))) {
        return command_quit(s, out);
    } else if (str_equal_nocase(verb, STR("UTF8")) || str_equal_nocase(verb, STR("STLS"))) {
        pop3_error(s, out, "This belongs before the login");
    } else {
        pop3_error(s, out, "Unknown command; CAPA lists what there is");
    }
    return POP3_INPUT;
}
