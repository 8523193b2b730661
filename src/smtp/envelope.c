/* MAIL and RCPT in the SMTP server engine: paths and their parameters, and who may send to whom. */
#include "smtp/server_private.h"

#include "message/path.h"

/* Parameters: "KEY" or "KEY=value", parted by blanks. */
static bool next_parameter(struct str *rest, struct str *key, struct str *value)
{
    struct str part;
    do {
        if (!str_split(rest, ' ', &part)) {
            return false;
        }
    } while (part.len == 0);
    size_t equals = str_find(part, 0, '=');
    *key = equals == SIZE_MAX ? part : str_sub(part, 0, equals);
    *value = equals == SIZE_MAX ? STR_EMPTY : str_from(part, equals + 1);
    return true;
}

/* What is wrong with a command, as a reply; code 0 if nothing is. */
struct fault {
    unsigned code;
    const char *enhanced;
    const char *text;
};

static const struct fault no_fault = {0, NULL, NULL};

static struct fault path_fault(enum path_error error, bool sender)
{
    switch (error) {
    case PATH_TOO_LONG:
        return (struct fault){501, sender ? "5.1.7" : "5.1.3",
                              "Address too long: 64 octets before the @ and 256 in all are allowed"};
    case PATH_BAD_DOMAIN:
        return (struct fault){501, sender ? "5.1.8" : "5.1.2", "The domain of this address is not valid"};
    case PATH_NEEDS_UTF8:
        return (struct fault){553, "5.6.7", "This address is not ASCII: give the parameter SMTPUTF8 at MAIL"};
    case PATH_PERCENT_HACK:
        return (struct fault){550, "5.7.1", "Routing inside an address (%, ! or a second @) is refused; give the final address"};
    default:
        return (struct fault){501, sender ? "5.1.7" : "5.1.3",
                              sender ? "Write MAIL FROM:<user@example.org>, or MAIL FROM:<> for bounces"
                                     : "Write RCPT TO:<user@example.org>"};
    }
}

static bool is_printable(struct str s, size_t max)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] <= ' ' || s.data[i] == 0x7f) {
            return false;
        }
    }
    return s.len > 0 && s.len <= max;
}

static struct fault set_size(struct smtp_server *s, struct smtp_transaction *t, struct str value)
{
    if (!str_to_u64(value, UINT64_MAX / 2, &t->declared_size)) {
        return (struct fault){501, "5.5.4", "SIZE takes a number of octets"};
    }
    if (t->declared_size > s->settings->message_size) {
        return (struct fault){552, "5.3.4", "Message too large for this server; EHLO tells the limit as SIZE"};
    }
    return no_fault;
}

static struct fault set_body(struct smtp_transaction *t, struct str value)
{
    if (str_equal_nocase(value, STR("7BIT"))) {
        t->body_kind = SMTP_BODY_7BIT;
    } else if (str_equal_nocase(value, STR("8BITMIME"))) {
        t->body_kind = SMTP_BODY_8BITMIME;
    } else if (str_equal_nocase(value, STR("BINARYMIME"))) {
        t->body_kind = SMTP_BODY_BINARYMIME;
    } else {
        return (struct fault){501, "5.5.4", "BODY is 7BIT, 8BITMIME or BINARYMIME"};
    }
    return no_fault;
}

static struct fault set_mail_parameter(struct smtp_server *s, struct smtp_transaction *t, struct str key,
                                       struct str value)
{
    if (str_equal_nocase(key, STR("SIZE"))) {
        return set_size(s, t, value);
    }
    if (str_equal_nocase(key, STR("BODY"))) {
        return set_body(t, value);
    }
    if (str_equal_nocase(key, STR("SMTPUTF8")) && value.len == 0) {
        t->smtputf8 = true;
        return no_fault;
    }
    if (str_equal_nocase(key, STR("RET"))) {
        if (str_equal_nocase(value, STR("FULL")) || str_equal_nocase(value, STR("HDRS"))) {
            t->ret = ascii_upper(value.data[0]) == 'F' ? SMTP_RET_FULL : SMTP_RET_HDRS;
            return no_fault;
        }
        return (struct fault){501, "5.5.4", "RET is FULL or HDRS"};
    }
    if (str_equal_nocase(key, STR("ENVID"))) {
        t->envelope_id = is_printable(value, 100) ? arena_copy(&t->arena, value) : STR_EMPTY;
        return t->envelope_id.len > 0 ? no_fault : (struct fault){501, "5.5.4", "ENVID is 1 to 100 octets of xtext"};
    }
    if (str_equal_nocase(key, STR("AUTH"))) {
        /* RFC 4954, section 5: accepted from anybody, believed from nobody. */
        return is_printable(value, 500) ? no_fault : (struct fault){501, "5.5.4", "AUTH takes a mailbox as xtext, or <>"};
    }
    return (struct fault){555, "5.5.4", "A parameter of MAIL is not known; EHLO lists the extensions that are"};
}

/* SMTPUTF8 may stand behind the path that needs it. */
static bool asks_for_utf8(struct str argument)
{
    size_t end = str_find_last(argument, '>');
    struct str rest = end == SIZE_MAX ? STR_EMPTY : str_from(argument, end + 1);
    struct str key;
    struct str value;
    while (next_parameter(&rest, &key, &value)) {
        if (str_equal_nocase(key, STR("SMTPUTF8"))) {
            return true;
        }
    }
    return false;
}

static struct fault read_mail(struct smtp_server *s, struct smtp_transaction *t, struct str argument)
{
    struct path path;
    enum path_error error = path_parse(argument, true, asks_for_utf8(argument), &path);
    if (error != PATH_OK) {
        return path_fault(error, true);
    }
    struct str rest = path.rest;
    struct str key;
    struct str value;
    while (next_parameter(&rest, &key, &value)) {
        if (!s->esmtp) {
            return (struct fault){555, "5.5.4", "Parameters need EHLO, not HELO"};
        }
        struct fault fault = set_mail_parameter(s, t, key, value);
        if (fault.code != 0) {
            return fault;
        }
    }
    char area[1024];
    struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!path_normalize(&path, &normal)) {
        return path_fault(PATH_BAD_DOMAIN, true);
    }
    t->sender = arena_copy(&t->arena, buf_str(&normal));
    return t->sender.data == NULL ? (struct fault){452, "4.3.1", "Out of memory; try again later"} : no_fault;
}

static struct smtp_transaction *transaction_new(struct smtp_server *s, uint64_t now_ms)
{
    struct arena arena = arena_make(TRANSACTION_MEMORY);
    struct smtp_transaction *t = arena_new(&arena, struct smtp_transaction);
    if (t == NULL) {
        arena_free(&arena);
        return NULL;
    }
    t->arena = arena;
    t->last = &t->recipients;
    t->sender = STR_EMPTY;
    t->envelope_id = STR_EMPTY;
    t->started_ms = now_ms;
    t->body = buf_make((size_t)s->settings->message_size);
    t->reader.repair = s->settings->repair_newlines && s->settings->kind == SMTP_KIND_SUBMISSION;
    return t;
}

static bool mail_out_of_order(struct smtp_server *s, struct buf *out)
{
    if (s->transaction != NULL) {
        server_reply(s, out, 503, "5.5.1", "A transaction is under way; RSET ends it");
    } else if (s->settings->kind == SMTP_KIND_SUBMISSION && !s->authenticated && !s->settings->catch_all) {
        if (s->tls) {
            server_reply(s, out, 530, "5.7.0", "Log in first: AUTH, then MAIL. Mail between servers goes to port 25");
        } else {
            server_reply(s, out, 530, "5.7.0", "Begin TLS and log in first: STARTTLS, EHLO, AUTH, then MAIL");
        }
    } else if (s->transactions >= s->settings->transactions) {
        server_close(s, out, 421, "4.7.0", "Too many messages in one session; connect again", "too many transactions");
    } else {
        return false;
    }
    return true;
}

enum smtp_request server_mail(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out)
{
    if (mail_out_of_order(s, out)) {
        return s->state == STATE_CLOSED ? SMTP_CLOSE : SMTP_INPUT;
    }
    if (!str_starts_nocase(argument, STR("FROM:"))) {
        server_reply(s, out, 501, "5.5.2", "Write MAIL FROM:<user@example.org>");
        return SMTP_INPUT;
    }
    struct smtp_transaction *t = transaction_new(s, now_ms);
    if (t == NULL) {
        server_reply(s, out, 452, "4.3.1", "Out of memory; try again later");
        return SMTP_INPUT;
    }
    s->transaction = t;
    struct fault fault = read_mail(s, t, str_trim(str_from(argument, 5)));
    if (fault.code != 0) {
        server_transaction_reset(s);
        server_reply(s, out, fault.code, fault.enhanced, fault.text);
        return SMTP_INPUT;
    }
    s->transactions++;
    bool ask = s->authenticated && !s->settings->foreign_senders && t->sender.len > 0;
    if (ask) {
        s->question = t->sender;
        s->waiting = SMTP_CHECK_SENDER;
        return SMTP_CHECK_SENDER;
    }
    server_reply(s, out, 250, "2.1.0", "Sender OK");
    return SMTP_INPUT;
}

void smtp_server_sender(struct smtp_server *s, enum smtp_sender_answer answer, struct buf *out)
{
    if (s->waiting != SMTP_CHECK_SENDER || s->transaction == NULL) {
        return;
    }
    bool in_header = s->transaction->senders_checked > 0;
    s->waiting = SMTP_INPUT;
    if (answer == SMTP_SENDER_ALLOWED) {
        if (!in_header) {
            server_reply(s, out, 250, "2.1.0", "Sender OK");
        }
        return;
    }
    server_event(s, answer == SMTP_SENDER_FAILED ? 451 : 550, answer == SMTP_SENDER_FAILED ? "4.3.0" : "5.7.1",
                 s->question, in_header ? STR("From address of the header") : STR("reverse-path"));
    if (answer == SMTP_SENDER_FAILED) {
        server_reply(s, out, 451, "4.3.0", "Sender addresses cannot be checked now; try again later");
    } else if (in_header) {
        server_reply(s, out, 550, "5.7.1", "The From or Sender address of this message does not belong to your login");
    } else {
        server_reply(s, out, 550, "5.7.1", "This sender address does not belong to your login; use one of your own addresses");
    }
    server_transaction_reset(s);
}

static struct fault set_notify(struct smtp_recipient *r, struct str value)
{
    static const struct {
        const char *word;
        uint8_t bit;
    } words[] = {{"NEVER", SMTP_NOTIFY_NEVER}, {"SUCCESS", SMTP_NOTIFY_SUCCESS}, {"FAILURE", SMTP_NOTIFY_FAILURE},
                 {"DELAY", SMTP_NOTIFY_DELAY}};
    struct str part;
    while (str_split(&value, ',', &part)) {
        uint8_t bit = 0;
        for (size_t i = 0; i < 4; i++) {
            bit = str_equal_nocase(part, str_of(words[i].word)) ? words[i].bit : bit;
        }
        if (bit == 0 || (r->notify & bit) != 0) {
            return (struct fault){501, "5.5.4", "NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY"};
        }
        r->notify |= bit;
    }
    if ((r->notify & SMTP_NOTIFY_NEVER) != 0 && r->notify != SMTP_NOTIFY_NEVER) {
        return (struct fault){501, "5.5.4", "NOTIFY=NEVER stands alone"};
    }
    return no_fault;
}

static struct fault read_rcpt(struct smtp_server *s, struct smtp_transaction *t, struct smtp_recipient *r,
                              struct str argument)
{
    struct path path;
    enum path_error error = path_parse(argument, false, t->smtputf8, &path);
    if (error != PATH_OK) {
        return path_fault(error, false);
    }
    struct str rest = path.rest;
    struct str key;
    struct str value;
    r->original = STR_EMPTY;
    while (next_parameter(&rest, &key, &value)) {
        struct fault fault = no_fault;
        if (s->esmtp && str_equal_nocase(key, STR("NOTIFY"))) {
            fault = set_notify(r, value);
        } else if (s->esmtp && str_equal_nocase(key, STR("ORCPT"))) {
            r->original = is_printable(value, 500) ? arena_copy(&t->arena, value) : STR_EMPTY;
            bool typed = str_find(r->original, 0, ';') != SIZE_MAX;
            fault = typed ? no_fault : (struct fault){501, "5.5.4", "ORCPT is a type, a semicolon and an address as xtext"};
        } else {
            fault = (struct fault){555, "5.5.4", "A parameter of RCPT is not known; EHLO lists the extensions that are"};
        }
        if (fault.code != 0) {
            return fault;
        }
    }
    char area[1024];
    struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!path_normalize(&path, &normal)) {
        return path_fault(PATH_BAD_DOMAIN, false);
    }
    r->address = arena_copy(&t->arena, buf_str(&normal));
    return r->address.data == NULL ? (struct fault){452, "4.3.1", "Out of memory; try again later"} : no_fault;
}

enum smtp_request server_rcpt(struct smtp_server *s, struct str argument, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    if (t == NULL) {
        server_reply(s, out, 503, "5.5.1", "MAIL comes before RCPT");
        return SMTP_INPUT;
    }
    if (t->bdat) {
        server_reply(s, out, 503, "5.5.1", "RCPT comes before BDAT");
        return SMTP_INPUT;
    }
    if (!str_starts_nocase(argument, STR("TO:"))) {
        server_reply(s, out, 501, "5.5.2", "Write RCPT TO:<user@example.org>");
        return SMTP_INPUT;
    }
    if (t->recipient_count >= s->settings->recipients) {
        server_reply(s, out, 452, "4.5.3", "Too many recipients in one transaction; send the rest in another");
        return SMTP_INPUT;
    }
    struct smtp_recipient *r = arena_new(&t->arena, struct smtp_recipient);
    struct fault fault = r == NULL ? (struct fault){452, "4.3.1", "Out of memory; try again later"}
                                   : read_rcpt(s, t, r, str_trim(str_from(argument, 3)));
    if (fault.code != 0) {
        server_reply(s, out, fault.code, fault.enhanced, fault.text);
        return SMTP_INPUT;
    }
    *t->last = r; /* linked for the answer; counted when it is accepted */
    s->question = r->address;
    s->waiting = SMTP_CHECK_RECIPIENT;
    return SMTP_CHECK_RECIPIENT;
}

static void refuse_relay(struct smtp_server *s, struct buf *out)
{
    struct buf text = buf_make(512);
    buf_append_lit(&text, "Relay denied: this recipient is not here, and this port takes mail for local recipients only. To send "
                          "elsewhere log in at ");
    server_name_doors(s, &text);
    buf_append_char(&text, '\0');
    server_reply(s, out, 550, "5.7.1", buf_ok(&text) ? text.data : "Relay denied");
    buf_free(&text);
}

static bool may_relay(const struct smtp_server *s)
{
    return s->settings->kind == SMTP_KIND_SUBMISSION && s->authenticated;
}

/* Accepts, or replies why not. */
static bool judge_recipient(struct smtp_server *s, enum smtp_recipient_answer answer, struct buf *out)
{
    switch (answer) {
    case SMTP_RECIPIENT_LOCAL:
    case SMTP_RECIPIENT_RELAY_DOMAIN: return true;
    case SMTP_RECIPIENT_REMOTE:
        if (may_relay(s)) {
            return true;
        }
        refuse_relay(s, out);
        return false;
    case SMTP_RECIPIENT_UNKNOWN:
        server_reply(s, out, 550, "5.1.1", "No such user here; check the spelling of the address");
        return false;
    case SMTP_RECIPIENT_OVER_QUOTA:
        server_reply(s, out, 552, "5.2.2", "The recipient's mailbox is full");
        return false;
    case SMTP_RECIPIENT_OVER_QUOTA_NOW:
        server_reply(s, out, 452, "4.2.2", "The recipient's mailbox is full; try again later");
        return false;
    case SMTP_RECIPIENT_DISABLED:
        server_reply(s, out, 550, "5.2.1", "The recipient's account is disabled");
        return false;
    default:
        server_reply(s, out, 451, "4.3.0", "The recipient cannot be looked up now; try again later");
        return false;
    }
}

void smtp_server_recipient(struct smtp_server *s, enum smtp_recipient_answer answer, struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    if (s->waiting != SMTP_CHECK_RECIPIENT || t == NULL) {
        return;
    }
    s->waiting = SMTP_INPUT;
    struct smtp_recipient *r = *t->last;
    if (!judge_recipient(s, answer, out)) {
        server_event(s, 550, "", r->address, STR("recipient refused"));
        *t->last = NULL;
        return;
    }
    t->last = &r->next;
    t->recipient_count++;
    server_reply(s, out, 250, "2.1.5", "Recipient OK");
}
