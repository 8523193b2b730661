/*
 * One message in the SMTP client engine: what it needs of the peer, its envelope, and the replies to all of it (RFC 5321,
 * section 3.3; 1870, 2033, 2920, 3030, 3461, 6152, 6531, 9422).
 */
#include "smtp/client_private.h"

#include "message/xtext.h"

enum { ORCPT_MAX = 500, ENVID_MAX = 100 };

void smtp_client_begin(struct smtp_client *c, const struct smtp_client_message *message,
                       struct smtp_client_recipient *recipients, size_t count)
{
    if (c->phase != PHASE_READY && c->phase != PHASE_DONE) {
        return;
    }
    c->message = message;
    c->recipients = recipients;
    c->recipient_count = count;
    c->next_to_send = 0;
    c->next_to_reply = 0;
    c->chosen = 0;
    c->accepted = 0;
    c->mail_replied = false;
    c->mail_refused = false;
    c->data_sent = false;
    c->scan_done = false;
    c->use_bdat = client_has(c, EXT_CHUNKING);
    c->pipelining = client_has(c, EXT_PIPELINING);
    for (size_t i = 0; i < count; i++) {
        recipients[i].chosen = false;
    }
    client_reply_next(&c->reply);
    c->phase = PHASE_BEGIN;
    c->progress++;
}

void smtp_client_scanned(struct smtp_client *c, const struct smtp_client_scan *scan)
{
    c->scan = *scan;
    c->scan_done = true;
}

/* The transaction is over; what comes next on this connection must begin with RSET if it was cut short. */
static int transaction_over(struct smtp_client *c, bool needs_reset)
{
    c->needs_reset = c->needs_reset || needs_reset;
    c->phase = PHASE_DONE;
    return STEP_ON;
}

/* What the message needs. */

static bool is_utf8(const struct smtp_client *c)
{
    return c->message->smtputf8 || !str_is_ascii(c->message->sender);
}

static bool has_binary(const struct smtp_client *c)
{
    return client_has(c, EXT_BINARYMIME) && client_has(c, EXT_CHUNKING);
}

/* Whether the peer lacks something that the envelope declares, so that the message itself must be looked at. */
static bool needs_scan(const struct smtp_client *c)
{
    enum smtp_client_body body = c->message->body;
    return (body == SMTP_CLIENT_8BITMIME && !client_has(c, EXT_8BITMIME)) ||
           (body == SMTP_CLIENT_BINARYMIME && !has_binary(c)) ||
           (c->message->smtputf8 && !client_has(c, EXT_SMTPUTF8));
}

/* NULL if the message can go as it is; else our words, and the enhanced code. Nothing is converted on the way. */
static const char *lacking(const struct smtp_client *c, const char **enhanced)
{
    const struct smtp_client_message *message = c->message;
    if (client_has(c, EXT_SIZE) && c->size_max > 0 && message->size > c->size_max) {
        *enhanced = "5.3.4";
        return "The message is larger than the recipient's mail server takes";
    }
    if (!client_has(c, EXT_SMTPUTF8) && !str_is_ascii(message->sender)) {
        *enhanced = "5.6.7";
        return "The sender's address is not ASCII, and the recipient's mail server does not have SMTPUTF8";
    }
    if (!c->scan_done) {
        return NULL;
    }
    if (message->smtputf8 && !client_has(c, EXT_SMTPUTF8) && c->scan.header_beyond_ascii) {
        *enhanced = "5.6.9";
        return "The header of the message is not ASCII, and the recipient's mail server does not have "
               "SMTPUTF8";
    }
    *enhanced = "5.6.3";
    if (message->body == SMTP_CLIENT_BINARYMIME && !has_binary(c) && c->scan.binary) {
        return "The message is binary, and the recipient's mail server does not have BINARYMIME";
    }
    bool beyond = c->scan.body_beyond_ascii || c->scan.header_beyond_ascii;
    if (message->body != SMTP_CLIENT_7BIT && !client_has(c, EXT_8BITMIME) &&
        !(message->body == SMTP_CLIENT_BINARYMIME && has_binary(c)) && beyond) {
        return "The message has 8-bit content, and the recipient's mail server does not have 8BITMIME";
    }
    return NULL;
}

/* An address that would break the command; the store has none, but it is not the engine's to believe that. */
static bool is_sound(struct str address)
{
    for (size_t i = 0; i < address.len; i++) {
        char c = address.data[i];
        if ((c >= 0 && c < ' ') || c == 0x7f) {
            return false;
        }
    }
    return address.len < 1000;
}

static void refuse(struct smtp_client *c, size_t recipient, const char *enhanced, const char *text)
{
    struct smtp_client_result result = client_own_result(c, SMTP_CLIENT_FAILED, enhanced, str_of(text));
    client_decide(c, recipient, &result);
}

/* Takes recipients into this transaction, as many as the peer says it takes. */
static void choose_recipients(struct smtp_client *c)
{
    unsigned max = SMTP_CLIENT_RECIPIENTS_MAX;
    if (c->rcpt_max > 0 && c->rcpt_max < max) {
        max = c->rcpt_max;
    }
    for (size_t i = 0; i < c->recipient_count && c->chosen < max; i++) {
        struct smtp_client_recipient *r = &c->recipients[i];
        if (r->state != SMTP_CLIENT_WAITING) {
            continue;
        }
        if (!is_sound(r->address) || r->address.len == 0) {
            refuse(c, i, "5.1.3", "The address has characters that no address may have");
        } else if (!str_is_ascii(r->address) && !client_has(c, EXT_SMTPUTF8)) {
            refuse(c, i, "5.6.7",
                   "The recipient's address is not ASCII, and the recipient's mail server does not have "
                   "SMTPUTF8");
        } else {
            r->state = SMTP_CLIENT_SENT;
            r->chosen = true;
            c->chosen++;
        }
    }
}

/* The commands. */

static const char *body_word(const struct smtp_client *c)
{
    enum smtp_client_body body = c->message->body;
    if (body == SMTP_CLIENT_BINARYMIME && has_binary(c)) {
        return " BODY=BINARYMIME";
    }
    return body != SMTP_CLIENT_7BIT && client_has(c, EXT_8BITMIME) ? " BODY=8BITMIME" : "";
}

static void send_mail(struct smtp_client *c, struct buf *out)
{
    const struct smtp_client_message *message = c->message;
    buf_append_lit(out, "MAIL FROM:<");
    buf_append_str(out, message->sender);
    buf_append_char(out, '>');
    if (client_has(c, EXT_SIZE)) {
        buf_printf(out, " SIZE=%llu", (unsigned long long)message->size);
    }
    buf_append_str(out, str_of(body_word(c)));
    bool utf8 = is_utf8(c);
    for (size_t i = 0; i < c->recipient_count; i++) {
        utf8 = utf8 || (c->recipients[i].chosen && !str_is_ascii(c->recipients[i].address));
    }
    if (utf8 && client_has(c, EXT_SMTPUTF8)) {
        buf_append_lit(out, " SMTPUTF8");
    }
    if (client_has(c, EXT_DSN) && message->ret != 0) {
        buf_append_str(out, message->ret == 1 ? STR(" RET=FULL") : STR(" RET=HDRS"));
    }
    if (client_has(c, EXT_DSN) && message->envid.len > 0 && message->envid.len <= ENVID_MAX &&
        xtext_valid(message->envid)) {
        buf_append_lit(out, " ENVID=");
        buf_append_str(out, message->envid);
    }
    buf_append_lit(out, "\r\n");
    c->transactions++;
}

static void append_notify(uint8_t notify, struct buf *out)
{
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    const char *separator = " NOTIFY=";
    for (size_t i = 0; i < 4; i++) {
        if ((notify & (1U << i)) != 0) {
            buf_append_str(out, str_of(separator));
            buf_append_str(out, str_of(words[i]));
            separator = ",";
        }
    }
}

static void append_orcpt(const struct smtp_client *c, struct str orcpt, struct buf *out)
{
    struct str type;
    struct str address;
    if (orcpt.len == 0 || orcpt.len > ORCPT_MAX || !xtext_orcpt(orcpt, &type, &address)) {
        return;
    }
    buf_append_lit(out, " ORCPT=");
    buf_append_str(out, type);
    buf_append_char(out, ';');
    if (str_is_ascii(address) || client_has(c, EXT_SMTPUTF8)) {
        buf_append_str(out, address);
    } else {
        xtext_utf8_encode(address, out);
    }
}

/* The next recipient's RCPT; false if all have been sent. */
static bool send_rcpt(struct smtp_client *c, struct buf *out)
{
    while (c->next_to_send < c->recipient_count && !c->recipients[c->next_to_send].chosen) {
        c->next_to_send++;
    }
    if (c->next_to_send == c->recipient_count) {
        return false;
    }
    const struct smtp_client_recipient *r = &c->recipients[c->next_to_send++];
    buf_append_lit(out, "RCPT TO:<");
    buf_append_str(out, r->address);
    buf_append_char(out, '>');
    if (client_has(c, EXT_DSN)) {
        append_notify(r->notify, out);
        append_orcpt(c, r->orcpt, out);
    }
    buf_append_lit(out, "\r\n");
    return true;
}

static void send_data(struct smtp_client *c, struct buf *out)
{
    buf_append_lit(out, "DATA\r\n");
    c->data_sent = true;
}

int client_transaction_go(struct smtp_client *c, struct buf *out)
{
    if (c->needs_reset) {
        buf_append_lit(out, "RSET\r\n");
        c->phase = PHASE_RESET;
        return STEP_ON;
    }
    if (needs_scan(c) && !c->scan_done && str_is_ascii(c->message->sender)) {
        return SMTP_CLIENT_SCAN;
    }
    choose_recipients(c);
    const char *enhanced = NULL;
    const char *fault = is_sound(c->message->sender)
                            ? lacking(c, &enhanced)
                            : "The reverse-path has characters that no address may have";
    if (fault != NULL) {
        struct smtp_client_result result =
            client_own_result(c, SMTP_CLIENT_FAILED, enhanced == NULL ? "5.1.7" : enhanced, str_of(fault));
        client_decide_all(c, &result);
        return transaction_over(c, false);
    }
    if (c->chosen == 0) {
        return transaction_over(c, false);
    }
    c->phase = PHASE_ENVELOPE;
    send_mail(c, out);
    while (c->pipelining && send_rcpt(c, out)) {
    }
    if (c->pipelining && !c->use_bdat) {
        send_data(c, out);
    }
    return STEP_ON;
}

/* The replies. */

/* The recipient whose reply comes next; recipient_count if none is due. */
static size_t reply_of(struct smtp_client *c)
{
    while (c->next_to_reply < c->recipient_count && !c->recipients[c->next_to_reply].chosen) {
        c->next_to_reply++;
    }
    return c->next_to_reply;
}

/* All RCPT have been answered and DATA is not out yet. */
static int envelope_complete(struct smtp_client *c, struct buf *out)
{
    if (c->accepted == 0) {
        return transaction_over(c, !c->mail_refused);
    }
    if (c->use_bdat) {
        client_body_begin(c, out);
    } else {
        send_data(c, out);
    }
    return STEP_ON;
}

static int after_rcpt(struct smtp_client *c, struct buf *out)
{
    bool all_answered = reply_of(c) == c->recipient_count;
    if (c->pipelining) {
        return all_answered && !c->data_sent ? envelope_complete(c, out) : STEP_ON;
    }
    if (c->mail_refused || !send_rcpt(c, out)) {
        return envelope_complete(c, out);
    }
    return STEP_ON;
}

static int mail_reply(struct smtp_client *c, struct buf *out)
{
    if (c->reply.code / 100 == 3) {
        return client_fail_reply(c);
    }
    if (c->reply.code / 100 != 2) {
        struct smtp_client_result result = client_result_of_reply(c);
        client_decide_all(c, &result);
        c->mail_refused = true;
    }
    c->mail_replied = true;
    return after_rcpt(c, out);
}

/* RFC 5321, section 4.5.3.1.10: 452, or from old servers 552, means that the rest belongs in a further transaction. */
static bool is_too_many(const struct smtp_client *c)
{
    struct str enhanced;
    client_reply_text(&c->reply, &enhanced);
    if (c->accepted == 0) {
        return false;
    }
    return (c->reply.code == 452 && (enhanced.len == 0 || str_equal(enhanced, STR("4.5.3")))) ||
           (c->reply.code == 552 && (enhanced.len == 0 || str_equal(enhanced, STR("5.5.3"))));
}

static int rcpt_reply(struct smtp_client *c, struct buf *out)
{
    size_t at = c->next_to_reply++;
    struct smtp_client_recipient *r = &c->recipients[at];
    if (c->reply.code / 100 == 3) {
        c->next_to_reply--;
        return client_fail_reply(c);
    }
    if (!c->mail_refused && c->reply.code / 100 == 2) {
        r->state = SMTP_CLIENT_ACCEPTED;
        c->accepted++;
    } else if (!c->mail_refused && is_too_many(c)) {
        r->state = SMTP_CLIENT_WAITING;
    } else if (!c->mail_refused) {
        c->next_to_reply--;
        struct smtp_client_result result = client_result_of_reply(c);
        client_decide(c, at, &result);
        c->next_to_reply++;
    }
    return after_rcpt(c, out);
}

/* RFC 2920, section 3.1: DATA was sent ahead and taken, though no recipient was. */
static int data_for_nobody(struct smtp_client *c, struct buf *out)
{
    if (c->settings->lmtp) {
        return client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.5.0",
                               "The server wants data for a message without recipients");
    }
    buf_append_lit(out, ".\r\n");
    c->phase = PHASE_EMPTY_FINAL;
    return STEP_ON;
}

static int data_reply(struct smtp_client *c, struct buf *out)
{
    if (c->reply.code == 354) {
        if (c->accepted == 0) {
            return data_for_nobody(c, out);
        }
        client_body_begin(c, out);
        return STEP_ON;
    }
    if (c->reply.code < 400) {
        return client_fail_reply(c);
    }
    struct smtp_client_result result = client_result_of_reply(c);
    client_decide_all(c, &result);
    return transaction_over(c, true);
}

static int envelope_reply(struct smtp_client *c, struct buf *out)
{
    if (!c->mail_replied) {
        return mail_reply(c, out);
    }
    return reply_of(c) < c->recipient_count ? rcpt_reply(c, out) : data_reply(c, out);
}

/* LMTP: a reply for each accepted recipient, in their order (RFC 2033, section 4.2). */
static int final_reply_lmtp(struct smtp_client *c, const struct smtp_client_result *result)
{
    while (c->next_to_reply < c->recipient_count &&
           c->recipients[c->next_to_reply].state != SMTP_CLIENT_ACCEPTED) {
        c->next_to_reply++;
    }
    if (c->next_to_reply < c->recipient_count) {
        client_decide(c, c->next_to_reply++, result);
    }
    for (size_t i = c->next_to_reply; i < c->recipient_count; i++) {
        if (c->recipients[i].state == SMTP_CLIENT_ACCEPTED) {
            return STEP_ON;
        }
    }
    return transaction_over(c, false);
}

static int final_reply(struct smtp_client *c)
{
    struct smtp_client_result result = client_result_of_reply(c);
    if (c->reply.code / 100 == 3) {
        client_leave_uncertain(c);
        return client_fail_reply(c);
    }
    if (c->settings->lmtp) {
        return final_reply_lmtp(c, &result);
    }
    client_decide_all(c, &result);
    return transaction_over(c, false);
}

int client_transaction_reply(struct smtp_client *c, struct buf *out)
{
    switch ((enum client_phase)c->phase) {
    case PHASE_ENVELOPE: return envelope_reply(c, out);
    case PHASE_FINAL: return final_reply(c);
    case PHASE_EMPTY_FINAL: return transaction_over(c, false);
    default: break;
    }
    if (c->reply.code / 100 != 2) {
        return client_fail_reply(c);
    }
    c->needs_reset = false;
    c->phase = PHASE_BEGIN;
    return STEP_ON;
}
