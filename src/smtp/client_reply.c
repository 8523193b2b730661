/*
 * Replies of a server (RFC 5321, section 4.2; RFC 2034): read line by line within fixed limits, and made into results. What a
 * peer sends is hostile: whatever it is, it costs at most one line's memory and this session.
 */
#include "smtp/client_private.h"

#include "message/codes.h"

void client_reply_next(struct smtp_client_reply *reply)
{
    reply->code = 0;
    reply->complete = false;
    reply->bad = false;
    reply->more = false;
    reply->lines = 0;
    reply->line_len = 0;
    reply->text_len = 0;
}

/* Moves octets up to the line's end into the line; true when its LF has come. */
static bool fill_line(struct smtp_client_reply *reply, struct str *input)
{
    size_t end = str_find(*input, 0, '\n');
    size_t len = end == SIZE_MAX ? input->len : end;
    if (len > sizeof(reply->line) - reply->line_len) {
        reply->bad = true;
        return true;
    }
    memcpy(reply->line + reply->line_len, input->data, len);
    reply->line_len += len;
    *input = str_from(*input, end == SIZE_MAX ? len : len + 1);
    return end != SIZE_MAX;
}

/* Three digits, then a hyphen, a space, or nothing. */
static bool read_code(struct str line, unsigned *code, bool *more)
{
    if (line.len < 3 || !ascii_is_digit(line.data[0]) || !ascii_is_digit(line.data[1]) ||
        !ascii_is_digit(line.data[2])) {
        return false;
    }
    *code = (unsigned)(line.data[0] - '0') * 100 + (unsigned)(line.data[1] - '0') * 10 +
            (unsigned)(line.data[2] - '0');
    *more = line.len > 3 && line.data[3] == '-';
    return *code >= 200 && *code <= 599 && (line.len == 3 || *more || line.data[3] == ' ');
}

static void keep_text(struct smtp_client_reply *reply, struct str text)
{
    struct buf kept = {.data = reply->text,
                       .len = reply->text_len,
                       .cap = sizeof(reply->text),
                       .limit = sizeof(reply->text)};
    if (reply->text_len > 0 && text.len > 0 && kept.len < kept.cap) {
        buf_append_char(&kept, ' ');
    }
    buf_append_str(&kept, str_sub(text, 0, kept.cap - kept.len));
    reply->text_len = kept.len;
}

/* On further lines the enhanced code is the same again and is left out. */
static struct str without_enhanced(struct str text)
{
    unsigned unused[3];
    size_t len = codes_parse_enhanced(text, &unused[0], &unused[1], &unused[2]);
    return str_trim(str_from(text, len));
}

bool client_reply_line(struct smtp_client_reply *reply, struct str *input, struct str *line)
{
    if (reply->complete || reply->bad || input->len == 0 || !fill_line(reply, input)) {
        return false;
    }
    struct str whole = str_make(reply->line, reply->line_len);
    if (whole.len > 0 && whole.data[whole.len - 1] == '\r') {
        whole.len--;
    }
    unsigned code = 0;
    bool more = false;
    reply->bad = reply->bad || !read_code(whole, &code, &more) || (reply->lines > 0 && code != reply->code) ||
                 reply->lines >= SMTP_CLIENT_LINES_MAX;
    if (reply->bad) {
        /* The line is kept as the text, so that people see what came. */
        reply->text_len = 0;
        keep_text(reply, whole);
        reply->code = 0;
        return true;
    }
    *line = str_from(whole, 4);
    keep_text(reply, reply->lines == 0 ? *line : without_enhanced(*line));
    reply->code = code;
    reply->lines++;
    reply->line_len = 0;
    reply->complete = !more;
    return true;
}

struct str client_reply_text(const struct smtp_client_reply *reply, struct str *enhanced)
{
    struct str text = str_make(reply->text, reply->text_len);
    unsigned class = 0;
    unsigned subject = 0;
    unsigned detail = 0;
    size_t len = codes_parse_enhanced(text, &class, &subject, &detail);
    *enhanced = len > 0 && class == reply->code / 100 ? str_sub(text, 0, len) : STR_EMPTY;
    return enhanced->len > 0 ? str_trim(str_from(text, len)) : text;
}

struct smtp_client_result client_result_of_reply(struct smtp_client *c)
{
    struct smtp_client_result result = {.outcome = SMTP_CLIENT_DEFERRED,
                                        .stage = smtp_client_stage_now(c),
                                        .dsn_passed = client_has(c, EXT_DSN),
                                        .code = c->reply.code,
                                        .enhanced = STR_EMPTY};
    if (c->reply.bad) {
        return client_own_result(c, SMTP_CLIENT_DEFERRED, "4.5.0",
                                 STR("The server sent something that is no SMTP reply"));
    }
    result.text = client_reply_text(&c->reply, &result.enhanced);
    if (c->reply.code / 100 == 2) {
        result.outcome = SMTP_CLIENT_DELIVERED;
    } else if (c->reply.code / 100 == 5) {
        result.outcome = SMTP_CLIENT_FAILED;
    }
    return result;
}

struct smtp_client_result client_own_result(struct smtp_client *c, enum smtp_client_outcome outcome,
                                            const char *enhanced, struct str text)
{
    return (struct smtp_client_result){.outcome = outcome,
                                       .stage = smtp_client_stage_now(c),
                                       .code = 0,
                                       .enhanced = str_of(enhanced),
                                       .text = text};
}

/* Copies, since the text may lie in the reply that the next one overwrites. */
int client_fail(struct smtp_client *c, const struct smtp_client_result *result)
{
    if (c->phase == PHASE_CLOSED) {
        return SMTP_CLIENT_CLOSE;
    }
    struct buf text = {
        .data = c->failure_text, .cap = sizeof(c->failure_text), .limit = sizeof(c->failure_text)};
    struct buf enhanced = {.data = c->failure_enhanced,
                           .cap = sizeof(c->failure_enhanced),
                           .limit = sizeof(c->failure_enhanced)};
    buf_append_str(&text, str_sub(result->text, 0, text.limit));
    buf_append_str(&enhanced, str_sub(result->enhanced, 0, enhanced.limit));
    c->failure = *result;
    c->failure.text = buf_str(&text);
    c->failure.enhanced = buf_str(&enhanced);
    for (size_t i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].state != SMTP_CLIENT_DECIDED) {
            c->recipients[i].state = SMTP_CLIENT_WAITING;
        }
    }
    c->recipient_count = 0;
    c->broken = true;
    c->phase = PHASE_CLOSED;
    return SMTP_CLIENT_CLOSE;
}

int client_fail_reply(struct smtp_client *c)
{
    struct smtp_client_result result = client_result_of_reply(c);
    if (result.outcome == SMTP_CLIENT_DELIVERED) {
        result.outcome = SMTP_CLIENT_DEFERRED; /* a success where none fits is a fault */
    }
    return client_fail(c, &result);
}

int client_fail_own(struct smtp_client *c, enum smtp_client_outcome outcome, const char *enhanced,
                    const char *text)
{
    struct smtp_client_result result = client_own_result(c, outcome, enhanced, str_of(text));
    return client_fail(c, &result);
}

void client_decide(struct smtp_client *c, size_t recipient, const struct smtp_client_result *result)
{
    if (c->recipients[recipient].state != SMTP_CLIENT_DECIDED) {
        c->recipients[recipient].state = SMTP_CLIENT_DECIDED;
        c->report(c->context, recipient, result);
    }
}

void client_decide_all(struct smtp_client *c, const struct smtp_client_result *result)
{
    for (size_t i = 0; i < c->recipient_count; i++) {
        uint8_t state = c->recipients[i].state;
        if (state == SMTP_CLIENT_SENT || state == SMTP_CLIENT_ACCEPTED) {
            client_decide(c, i, result);
        }
    }
}

void client_leave_uncertain(struct smtp_client *c)
{
    if (c->phase == PHASE_FINAL) {
        struct smtp_client_result result = client_own_result(
            c, SMTP_CLIENT_UNCERTAIN, "4.5.0",
            STR("The server answered the whole message with something that is no SMTP reply"));
        client_decide_all(c, &result);
    }
}
