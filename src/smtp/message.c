/*
 * DATA and BDAT in the SMTP server engine, and what is checked when a message is complete: size, line ends, loops, and
 * for submission the sender addresses of its header.
 */
#include "smtp/server_private.h"

#include "message/header.h"
#include "message/submit.h"
#include "message/trace.h"

enum { DELIVERED_TO_MAX = 100 };

/* Accounts the growth of the body in the process's budget; marks the transaction if it is used up. */
static void count_body(struct smtp_server *s)
{
    struct smtp_transaction *t = s->transaction;
    if (s->budget == NULL || t->body.cap == t->budgeted) {
        return;
    }
    s->budget->used -= t->budgeted;
    t->budgeted = t->body.cap;
    s->budget->used += t->budgeted;
    if (s->budget->used > s->budget->max && t->reader.fault == DATA_GOOD) {
        t->reader.fault = DATA_NO_MEMORY;
        s->budget->used -= t->budgeted;
        t->budgeted = 0;
        buf_free(&t->body);
    }
}

/* One reply, or for LMTP at the end of the message one for each accepted recipient (RFC 2033, sections 4.2 and 4.3). */
static void final_reply(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                        const char *text)
{
    const struct smtp_transaction *t = s->transaction;
    bool each = s->settings->kind == SMTP_KIND_LMTP && (!t->bdat || t->chunk_last);
    if (!each) {
        server_reply(s, out, code, enhanced, text);
        return;
    }
    for (const struct smtp_recipient *r = t->recipients; r != NULL; r = r->next) {
        const struct server_fault *full =
            r->refused ? server_over_quota(s->settings->refuse_over_quota) : NULL;
        unsigned count = 1;
        for (; r->next != NULL && r->next->refused == r->refused; count++) {
            r = r->next;
        }
        server_reply_times(s, out, count, full != NULL ? full->code : code,
                           full != NULL ? full->enhanced : enhanced, full != NULL ? full->text : text);
    }
}

static enum smtp_request refuse_message(struct smtp_server *s, struct buf *out, unsigned code,
                                        const char *enhanced, const char *text)
{
    final_reply(s, out, code, enhanced, text);
    server_transaction_reset(s);
    return s->state == STATE_CLOSED ? SMTP_CLOSE : SMTP_INPUT;
}

static enum smtp_request refuse_fault(struct smtp_server *s, struct buf *out, enum data_fault fault)
{
    switch (fault) {
    case DATA_BARE_CR:
        return refuse_message(s, out, 550, "5.6.0",
                              "The message has a CR that is not followed by LF; lines must end in CRLF");
    case DATA_BARE_LF:
        return refuse_message(s, out, 550, "5.6.0",
                              "The message has an LF without a CR before it; lines must end in CRLF");
    case DATA_NUL:
        return refuse_message(
            s, out, 550, "5.6.0",
            "The message has a NUL character; encode binary content, or send it by BDAT with "
            "BODY=BINARYMIME");
    case DATA_TOO_LARGE:
        return refuse_message(s, out, 552, "5.3.4",
                              "Message too large for this server; EHLO tells the limit as SIZE");
    default:
        return refuse_message(s, out, 452, "4.3.1",
                              "The server has too much mail under way for its memory; try again later");
    }
}

/* Why no data may come now; NULL: it may. */
static const struct server_fault *no_data_yet(const struct smtp_server *s)
{
    static const struct server_fault no_mail = {503, "5.5.1", "MAIL and RCPT come before the data"};
    static const struct server_fault no_recipients = {554, "5.5.1", "No valid recipients"};
    static const struct server_fault lmtp = {503, "5.5.1", "No valid recipients"}; /* RFC 2033, section 4.2 */
    if (s->helo.len == 0) {
        return server_not_greeted(s);
    }
    if (s->transaction == NULL) {
        return &no_mail;
    }
    if (s->transaction->recipient_count == 0) {
        return s->settings->kind == SMTP_KIND_LMTP ? &lmtp : &no_recipients;
    }
    return NULL;
}

static void begin_phase(struct smtp_server *s, uint64_t now_ms)
{
    s->data_started_ms = now_ms;
    s->data_octets = 0;
}

enum smtp_request server_data(struct smtp_server *s, uint64_t now_ms, struct buf *out)
{
    const struct server_fault *fault = no_data_yet(s);
    if (fault != NULL) {
        server_reply_fault(s, out, fault);
        return SMTP_INPUT;
    }
    struct smtp_transaction *t = s->transaction;
    if (t->bdat) {
        server_reply(s, out, 503, "5.5.1", "BDAT and DATA do not go together");
        return SMTP_INPUT;
    }
    if (t->body_kind == SMTP_BODY_BINARYMIME) {
        server_reply(s, out, 503, "5.5.1", "BODY=BINARYMIME needs BDAT");
        return SMTP_INPUT;
    }
    /* What the client declared, if it is believable, spares growing the buffer step by step. */
    if (t->declared_size > 0 && t->declared_size <= 1 << 20) {
        buf_reserve(&t->body, (size_t)t->declared_size);
        t->body.failed = false;
        count_body(s);
    }
    if (t->reader.fault != DATA_GOOD) {
        server_reply(s, out, 452, "4.3.1",
                     "The server has too much mail under way for its memory; try again later");
        server_transaction_reset(s);
        return SMTP_INPUT;
    }
    begin_phase(s, now_ms);
    s->state = STATE_DATA;
    buf_append_lit(out, "354 End data with <CRLF>.<CRLF>\r\n");
    return SMTP_INPUT;
}

static bool is_among(struct str address, const struct str *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal_nocase(address, addresses[i])) {
            return true;
        }
    }
    return false;
}

/* Where some recipients have had the message and others have not, those others shall get it. */
static bool all_had_it(const struct smtp_transaction *t, struct str message)
{
    struct str had[DELIVERED_TO_MAX];
    size_t count = trace_delivered_to(message, had, DELIVERED_TO_MAX);
    if (count >= DELIVERED_TO_MAX) {
        return true; /* nobody's mail comes by so many mailboxes */
    }
    for (const struct smtp_recipient *r = t->recipients; r != NULL; r = r->next) {
        if (!is_among(r->address, had, count)) {
            return false;
        }
    }
    return true;
}

/*
 * Marks the recipients whose mailboxes have become too small for the message; SIZE need not have told it. LMTP has a reply
 * for each; SMTP has one for all, so there the message is refused only if nobody has room, and else filed for all.
 */
static bool all_are_full(struct smtp_server *s)
{
    struct smtp_transaction *t = s->transaction;
    unsigned full = 0;
    for (const struct smtp_recipient *r = t->recipients; r != NULL; r = r->next) {
        full += r->room < t->body.len;
    }
    bool all = full == t->recipient_count;
    for (struct smtp_recipient *r = t->recipients; r != NULL && s->settings->kind == SMTP_KIND_LMTP;
         r = r->next) {
        r->refused = !all && r->room < t->body.len;
    }
    return all;
}

/* Complete, whole and within limits: the checks of its content, then COMMIT. */
static enum smtp_request finish(struct smtp_server *s, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    s->state = STATE_COMMAND;
    struct str message = buf_str(&t->body);
    if (trace_count_received(message) >= s->settings->hops) {
        return refuse_message(s, out, 554, "5.4.6",
                              "The message has passed through too many hosts: it is in a loop");
    }
    if (s->settings->kind != SMTP_KIND_SUBMISSION && all_had_it(t, message)) {
        return refuse_message(
            s, out, 554, "5.4.6",
            "The message has been delivered to this address before (Delivered-To): it is in a loop");
    }
    if (all_are_full(s)) {
        const struct server_fault *full = server_over_quota(s->settings->refuse_over_quota);
        return refuse_message(s, out, full->code, full->enhanced, full->text);
    }
    if (s->settings->kind == SMTP_KIND_SUBMISSION && s->authenticated && !s->settings->foreign_senders) {
        return server_check_senders(s, out);
    }
    s->waiting = SMTP_COMMIT;
    return SMTP_COMMIT;
}

static enum smtp_request refuse_senders(struct smtp_server *s, struct buf *out, enum submit_result result)
{
    static const struct server_fault faults[] = {
        [SUBMIT_NO_FROM] = {550, "5.6.0", "The message has no From field with an address"},
        [SUBMIT_SEVERAL_FROM] = {550, "5.6.0",
                                 "The message has more than one From field; a message has exactly one"},
        [SUBMIT_BAD_FROM] = {550, "5.6.0",
                             "The From or Sender field cannot be read; write From: Name <user@example.org>"},
        [SUBMIT_NO_MEMORY] = {452, "4.3.1", "Out of memory; try again later"}};
    return refuse_message(s, out, faults[result].code, faults[result].enhanced, faults[result].text);
}

enum smtp_request server_check_senders(struct smtp_server *s, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    if (t->senders == NULL) {
        t->senders = arena_new(&t->arena, struct submit_senders);
        enum submit_result result = t->senders == NULL
                                        ? SUBMIT_NO_MEMORY
                                        : submit_read_senders(buf_str(&t->body), &t->arena, t->senders);
        if (result != SUBMIT_OK) {
            return refuse_senders(s, out, result);
        }
    }
    if (t->senders_checked < t->senders->count) {
        s->question = t->senders->addresses[t->senders_checked++];
        s->waiting = SMTP_CHECK_SENDER;
        return SMTP_CHECK_SENDER;
    }
    s->waiting = SMTP_COMMIT;
    return SMTP_COMMIT;
}

enum smtp_request server_read_data(struct smtp_server *s, struct str *input, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    uint64_t before = t->reader.octets;
    data_read(&t->reader, input, &t->body);
    s->data_octets += t->reader.octets - before;
    count_body(s);
    if (!t->reader.over) {
        /* A client that never ends what will be refused anyway is not listened to for ever. */
        if (t->reader.octets > 2 * s->settings->message_size + (1 << 20)) {
            server_close(s, out, 421, "4.3.4", "Far more data than the size limit; closing",
                         "data without end");
            return SMTP_CLOSE;
        }
        return SMTP_INPUT;
    }
    if (t->reader.fault != DATA_GOOD) {
        s->state = STATE_COMMAND;
        return refuse_fault(s, out, t->reader.fault);
    }
    return finish(s, out);
}

/* "size [LAST]" */
static bool read_bdat(struct str argument, uint64_t *size, bool *last)
{
    size_t blank = str_find(argument, 0, ' ');
    struct str number = blank == SIZE_MAX ? argument : str_sub(argument, 0, blank);
    struct str rest = blank == SIZE_MAX ? STR_EMPTY : str_trim(str_from(argument, blank + 1));
    *last = str_equal_nocase(rest, STR("LAST"));
    return str_to_u64(number, UINT64_MAX / 2, size) && (rest.len == 0 || *last);
}

static enum smtp_request chunk_done(struct smtp_server *s, struct buf *out);

static enum smtp_request skip_done(struct smtp_server *s, struct buf *out)
{
    s->state = STATE_COMMAND;
    server_reply_fault(s, out, s->skip_reply);
    return SMTP_INPUT;
}

/* RFC 3030, section 2: the octets are on their way and have to be read before the reply. */
static enum smtp_request skip_chunk(struct smtp_server *s, uint64_t size, const struct server_fault *fault,
                                    struct buf *out)
{
    s->skip_octets = size;
    s->skip_reply = fault;
    s->state = STATE_CHUNK;
    return size == 0 ? skip_done(s, out) : SMTP_INPUT;
}

static enum smtp_request read_skipped(struct smtp_server *s, struct str *input, struct buf *out)
{
    size_t take = s->skip_octets < input->len ? (size_t)s->skip_octets : input->len;
    *input = str_from(*input, take);
    s->skip_octets -= take;
    s->data_octets += take;
    return s->skip_octets == 0 ? skip_done(s, out) : SMTP_INPUT;
}

enum smtp_request server_bdat(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out)
{
    uint64_t size = 0;
    bool last = false;
    if (!read_bdat(argument, &size, &last)) {
        /* Without its size the chunk cannot be told from commands. */
        server_close(s, out, 501, "5.5.4", "BDAT takes a number of octets and perhaps LAST",
                     "BDAT without a size");
        return SMTP_CLOSE;
    }
    if (size > 2 * s->settings->message_size) {
        server_close(s, out, 552, "5.3.4", "Message too large for this server; EHLO tells the limit as SIZE",
                     "chunk too large");
        return SMTP_CLOSE;
    }
    const struct server_fault *fault = no_data_yet(s);
    begin_phase(s, now_ms);
    if (fault != NULL) {
        return skip_chunk(s, size, fault, out);
    }
    struct smtp_transaction *t = s->transaction;
    t->bdat = true;
    t->chunk_left = size;
    t->chunk_last = last;
    if (size > s->settings->message_size - t->body.len && t->reader.fault == DATA_GOOD) {
        t->reader.fault = DATA_TOO_LARGE;
    }
    s->state = STATE_CHUNK;
    return size == 0 ? chunk_done(s, out) : SMTP_INPUT;
}

/* A binary message's header is still lines, and only CRLF ends them (RFC 3030, section 3). */
static enum data_fault check_chunks(const struct smtp_transaction *t)
{
    struct str message = buf_str(&t->body);
    if (t->body_kind != SMTP_BODY_BINARYMIME) {
        return data_check(message);
    }
    size_t end = str_starts(message, STR("\r\n")) ? 0 : str_find_str(message, STR("\r\n\r\n"));
    return data_check(end == SIZE_MAX ? message : str_sub(message, 0, end));
}

static enum smtp_request chunk_done(struct smtp_server *s, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    s->state = STATE_COMMAND;
    if (t->reader.fault != DATA_GOOD) {
        return refuse_fault(s, out, t->reader.fault);
    }
    if (!t->chunk_last) {
        server_reply(s, out, 250, "2.0.0", "Chunk OK");
        return SMTP_INPUT;
    }
    enum data_fault fault = check_chunks(t);
    return fault != DATA_GOOD ? refuse_fault(s, out, fault) : finish(s, out);
}

enum smtp_request server_read_chunk(struct smtp_server *s, struct str *input, struct buf *out)
{
    if (s->skip_octets > 0) {
        return read_skipped(s, input, out);
    }
    struct smtp_transaction *t = s->transaction;
    size_t take = t->chunk_left < input->len ? (size_t)t->chunk_left : input->len;
    if (t->reader.fault == DATA_GOOD && !buf_append(&t->body, input->data, take)) {
        t->reader.fault = DATA_NO_MEMORY;
        buf_free(&t->body);
    }
    count_body(s);
    *input = str_from(*input, take);
    t->chunk_left -= take;
    s->data_octets += take;
    return t->chunk_left > 0 ? SMTP_INPUT : chunk_done(s, out);
}

void smtp_server_committed(struct smtp_server *s, enum smtp_commit_answer answer, struct str id,
                           struct buf *out)
{
    if (s->waiting != SMTP_COMMIT) {
        return;
    }
    s->waiting = SMTP_INPUT;
    if (answer == SMTP_COMMITTED) {
        char text[96];
        struct buf words = {.data = text, .cap = sizeof(text), .limit = sizeof(text)};
        buf_append_lit(&words, "Stored as ");
        buf_append_str(&words, str_sub(id, 0, 40));
        buf_append_char(&words, '\0');
        final_reply(s, out, 250, "2.0.0", text);
    } else if (answer == SMTP_COMMIT_NO_SPACE) {
        final_reply(s, out, 452, "4.3.1", "The server's disk is full; try again later");
    } else {
        final_reply(s, out, 451, "4.3.0", "The message could not be stored; try again later");
    }
    server_transaction_reset(s);
}
