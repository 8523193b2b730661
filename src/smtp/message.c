/*
 * DATA and BDAT in the SMTP server engine, and what is checked when a message is complete: size, line ends, loops, and
 * for submission the sender addresses of its header.
 */
#include "smtp/server_private.h"

#include "message/header.h"
#include "message/submit.h"
#include "message/trace.h"

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

/* One reply, or for LMTP one for each accepted recipient (RFC 2033, section 4.2). */
static void final_reply(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced, const char *text)
{
    bool lmtp = s->settings->kind == SMTP_KIND_LMTP;
    unsigned count = lmtp && s->transaction != NULL ? s->transaction->recipient_count : 1;
    for (unsigned i = 0; i < count && s->state != STATE_CLOSED; i++) {
        server_reply(s, out, code, enhanced, text);
    }
}

static enum smtp_request refuse_message(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                                        const char *text)
{
    final_reply(s, out, code, enhanced, text);
    server_transaction_reset(s);
    return s->state == STATE_CLOSED ? SMTP_CLOSE : SMTP_INPUT;
}

static enum smtp_request refuse_fault(struct smtp_server *s, struct buf *out, enum data_fault fault)
{
    switch (fault) {
    case DATA_BARE_CR:
        return refuse_message(s, out, 550, "5.6.0", "The message has a CR that is not followed by LF; lines must end in CRLF");
    case DATA_BARE_LF:
        return refuse_message(s, out, 550, "5.6.0", "The message has an LF without a CR before it; lines must end in CRLF");
    case DATA_NUL:
        return refuse_message(s, out, 550, "5.6.0", "The message has a NUL character; encode binary content, or send it by BDAT with "
                                                    "BODY=BINARYMIME");
    case DATA_TOO_LARGE:
        return refuse_message(s, out, 552, "5.3.4", "Message too large for this server; EHLO tells the limit as SIZE");
    default:
        return refuse_message(s, out, 452, "4.3.1", "The server has too much mail under way for its memory; try again later");
    }
}

static bool may_begin(struct smtp_server *s, struct buf *out)
{
    if (s->transaction == NULL) {
        server_reply(s, out, 503, "5.5.1", "MAIL and RCPT come before the data");
        return false;
    }
    if (s->transaction->recipient_count == 0) {
        server_reply(s, out, 554, "5.5.1", "No valid recipients");
        return false;
    }
    return true;
}

enum smtp_request server_data(struct smtp_server *s, uint64_t now_ms, struct buf *out)
{
    if (!may_begin(s, out)) {
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
    }
    t->data_started_ms = now_ms;
    s->state = STATE_DATA;
    buf_append_lit(out, "354 End data with <CRLF>.<CRLF>\r\n");
    return SMTP_INPUT;
}

/* Complete, whole and within limits: the checks of its content, then COMMIT. */
static enum smtp_request finish(struct smtp_server *s, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    s->state = STATE_COMMAND;
    struct str message = buf_str(&t->body);
    if (trace_count_received(message) >= s->settings->hops) {
        return refuse_message(s, out, 554, "5.4.6", "The message has passed through too many hosts: it is in a loop");
    }
    if (s->settings->kind == SMTP_KIND_SUBMISSION && s->authenticated && !s->settings->foreign_senders) {
        return server_check_senders(s, out);
    }
    s->waiting = SMTP_COMMIT;
    return SMTP_COMMIT;
}

enum smtp_request server_check_senders(struct smtp_server *s, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    struct submit_senders senders;
    enum submit_result result = submit_read_senders(buf_str(&t->body), &t->arena, &senders);
    if (result == SUBMIT_SEVERAL_FROM) {
        return refuse_message(s, out, 550, "5.6.0", "The message has more than one From field; a message has exactly one");
    }
    if (result == SUBMIT_NO_FROM) {
        return refuse_message(s, out, 550, "5.6.0", "The message has no From field with an address");
    }
    if (result == SUBMIT_BAD_FROM) {
        return refuse_message(s, out, 550, "5.6.0", "The From field cannot be read; write From: Name <user@example.org>");
    }
    if (t->senders_checked < senders.count) {
        s->question = senders.addresses[t->senders_checked++];
        s->waiting = SMTP_CHECK_SENDER;
        return SMTP_CHECK_SENDER;
    }
    s->waiting = SMTP_COMMIT;
    return SMTP_COMMIT;
}

enum smtp_request server_read_data(struct smtp_server *s, struct str *input, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    data_read(&t->reader, input, &t->body);
    count_body(s);
    if (!t->reader.over) {
        /* A client that never ends what will be refused anyway is not listened to for ever. */
        if (t->reader.octets > 2 * s->settings->message_size + (1 << 20)) {
            server_close(s, out, 421, "4.3.4", "Far more data than the size limit; closing", "data without end");
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

enum smtp_request server_bdat(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out)
{
    uint64_t size = 0;
    bool last = false;
    if (!read_bdat(argument, &size, &last)) {
        /* Without its size the chunk cannot be told from commands. */
        server_close(s, out, 501, "5.5.4", "BDAT takes a number of octets and perhaps LAST", "BDAT without a size");
        return SMTP_CLOSE;
    }
    struct smtp_transaction *t = s->transaction;
    if (t == NULL || t->recipient_count == 0) {
        /* RFC 3030, section 2: the octets are on their way and have to be read. */
        if (size > s->settings->message_size) {
            server_close(s, out, 552, "5.3.4", "Chunk too large", "chunk too large");
            return SMTP_CLOSE;
        }
        if (t == NULL) {
            server_reply(s, out, 503, "5.5.1", "MAIL and RCPT come before the data");
        } else {
            server_reply(s, out, 554, "5.5.1", "No valid recipients");
        }
        s->errors = s->errors > 0 ? s->errors : 1;
        s->state = s->state == STATE_CLOSED ? STATE_CLOSED : STATE_CHUNK;
        s->question = str_make(NULL, (size_t)size); /* octets to skip; see server_read_chunk */
        return s->state == STATE_CLOSED ? SMTP_CLOSE : SMTP_INPUT;
    }
    if (!t->bdat) {
        t->bdat = true;
        t->data_started_ms = now_ms;
    }
    t->chunk_left = size;
    t->chunk_last = last;
    if (size > s->settings->message_size - t->body.len && t->reader.fault == DATA_GOOD) {
        t->reader.fault = DATA_TOO_LARGE;
        if (size > 2 * s->settings->message_size) {
            server_close(s, out, 552, "5.3.4", "Message too large for this server; EHLO tells the limit as SIZE",
                         "chunk too large");
            return SMTP_CLOSE;
        }
    }
    s->state = STATE_CHUNK;
    return size == 0 ? chunk_done(s, out) : SMTP_INPUT;
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
    if (t->body_kind != SMTP_BODY_BINARYMIME) {
        enum data_fault fault = data_check(buf_str(&t->body));
        if (fault != DATA_GOOD) {
            return refuse_fault(s, out, fault);
        }
    }
    return finish(s, out);
}

enum smtp_request server_read_chunk(struct smtp_server *s, struct str *input, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    if (t == NULL || t->recipient_count == 0) {
        size_t skip = s->question.len < input->len ? s->question.len : input->len;
        *input = str_from(*input, skip);
        s->question.len -= skip;
        s->state = s->question.len == 0 ? STATE_COMMAND : STATE_CHUNK;
        return SMTP_INPUT;
    }
    size_t take = t->chunk_left < input->len ? (size_t)t->chunk_left : input->len;
    if (t->reader.fault == DATA_GOOD && !buf_append(&t->body, input->data, take)) {
        t->reader.fault = DATA_NO_MEMORY;
        buf_free(&t->body);
    }
    count_body(s);
    *input = str_from(*input, take);
    t->chunk_left -= take;
    t->reader.octets += take;
    return t->chunk_left > 0 ? SMTP_INPUT : chunk_done(s, out);
}

void smtp_server_committed(struct smtp_server *s, enum smtp_commit_answer answer, struct str id, struct buf *out)
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
