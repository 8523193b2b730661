/* MAIL and RCPT in the SMTP server engine: paths and their parameters, and who may send to whom. */
#include "smtp/server_private.h"

#include "message/path.h"
#include "message/xtext.h"

/* Parameters: "KEY" or "KEY=value", parted by blanks. Without a value its data is NULL. */
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
    *value = equals == SIZE_MAX ? str_make(NULL, 0) : str_from(part, equals + 1);
    return true;
}

static const struct server_fault no_fault = {0, NULL, NULL};
static const struct server_fault no_memory = {452, "4.3.1", "Out of memory; try again later"};
static const struct server_fault given_twice = {501, "5.5.4", "A parameter is given twice"};

static struct server_fault bad_parameter(const char *text)
{
    return (struct server_fault){501, "5.5.4", text};
}

static bool is_xtext(struct str s, size_t max)
{
    return s.len > 0 && s.len <= max && xtext_valid(s);
}

/* RFC 6533, section 3: with SMTPUTF8 an address may stand in ORCPT as it is. */
static bool is_utf8_text(struct str s, size_t max)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c <= ' ' || c == 0x7f || c == '+' || c == '=') {
            return false;
        }
    }
    return s.len > 0 && s.len <= max && str_is_utf8(s);
}

static struct server_fault path_fault(enum path_error error, bool sender)
{
    switch (error) {
    case PATH_TOO_LONG:
        return (struct server_fault){501, sender ? "5.1.7" : "5.1.3",
                                     "Address too long: 64 octets before the @ and 256 in all are allowed"};
    case PATH_BAD_DOMAIN:
        return (struct server_fault){501, sender ? "5.1.8" : "5.1.2",
                                     "The domain of this address is not valid"};
    case PATH_NEEDS_UTF8:
        return (struct server_fault){553, "5.6.7",
                                     "This address is not ASCII: give the parameter SMTPUTF8 at MAIL"};
    case PATH_PERCENT_HACK:
        return (struct server_fault){
            550, "5.7.1",
            "Routing inside an address (%, ! or a second @) is refused; give the final address"};
    default:
        return (struct server_fault){501, sender ? "5.1.7" : "5.1.3",
                                     sender
                                         ? "Write MAIL FROM:<user@example.org>, or MAIL FROM:<> for bounces"
                                         : "Write RCPT TO:<user@example.org>"};
    }
}

/* RFC 1870, section 4: 1 to 20 digits, so perhaps a number that 64 bits do not hold. */
static bool is_size(struct str value)
{
    size_t digits = 0;
    while (digits < value.len && ascii_is_digit(value.data[digits])) {
        digits++;
    }
    return digits > 0 && digits <= 20 && digits == value.len;
}

static struct server_fault set_size(struct smtp_server *s, struct smtp_transaction *t, struct str value)
{
    if (!is_size(value)) {
        return bad_parameter("SIZE takes a number of octets");
    }
    if (!str_to_u64(value, s->settings->message_size, &t->declared_size)) {
        return (struct server_fault){552, "5.3.4",
                                     "Message too large for this server; EHLO tells the limit as SIZE"};
    }
    return no_fault;
}

static struct server_fault set_body(struct smtp_server *s, struct smtp_transaction *t, struct str value)
{
    (void)s;
    if (str_equal_nocase(value, STR("7BIT"))) {
        t->body_kind = SMTP_BODY_7BIT;
    } else if (str_equal_nocase(value, STR("8BITMIME"))) {
        t->body_kind = SMTP_BODY_8BITMIME;
    } else if (str_equal_nocase(value, STR("BINARYMIME"))) {
        t->body_kind = SMTP_BODY_BINARYMIME;
    } else {
        return bad_parameter("BODY is 7BIT, 8BITMIME or BINARYMIME");
    }
    return no_fault;
}

static struct server_fault set_smtputf8(struct smtp_server *s, struct smtp_transaction *t, struct str value)
{
    (void)s;
    t->smtputf8 = true;
    return value.data == NULL ? no_fault : bad_parameter("SMTPUTF8 takes no value");
}

static struct server_fault set_ret(struct smtp_server *s, struct smtp_transaction *t, struct str value)
{
    (void)s;
    if (str_equal_nocase(value, STR("FULL"))) {
        t->ret = SMTP_RET_FULL;
    } else if (str_equal_nocase(value, STR("HDRS"))) {
        t->ret = SMTP_RET_HDRS;
    } else {
        return bad_parameter("RET is FULL or HDRS");
    }
    return no_fault;
}

static struct server_fault set_envelope_id(struct smtp_server *s, struct smtp_transaction *t,
                                           struct str value)
{
    (void)s;
    if (!is_xtext(value, 100)) {
        return bad_parameter("ENVID is 1 to 100 octets of xtext");
    }
    t->envelope_id = arena_copy(&t->arena, value);
    return t->envelope_id.data == NULL ? no_memory : no_fault;
}

/* RFC 4954, section 5: accepted from anybody, believed from nobody. */
static struct server_fault set_auth(struct smtp_server *s, struct smtp_transaction *t, struct str value)
{
    (void)s;
    (void)t;
    bool fine = str_equal(value, STR("<>")) || is_xtext(value, 500);
    return fine ? no_fault : bad_parameter("AUTH takes a mailbox as xtext, or <>");
}

static struct server_fault set_mail_parameter(struct smtp_server *s, struct smtp_transaction *t,
                                              unsigned *seen, struct str key, struct str value)
{
    static const struct {
        const char *key;
        struct server_fault (*set)(struct smtp_server *s, struct smtp_transaction *t, struct str value);
    } parameters[] = {{"SIZE", set_size}, {"BODY", set_body},         {"SMTPUTF8", set_smtputf8},
                      {"RET", set_ret},   {"ENVID", set_envelope_id}, {"AUTH", set_auth}};
    for (unsigned i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        if (str_equal_nocase(key, str_of(parameters[i].key))) {
            bool twice = (*seen & 1U << i) != 0;
            *seen |= 1U << i;
            return twice ? given_twice : parameters[i].set(s, t, value);
        }
    }
    return (struct server_fault){555, "5.5.4",
                                 "A parameter of MAIL is not known; EHLO lists the extensions that are"};
}

/* Copies the normal form of `path` into the transaction. */
static struct server_fault keep_path(struct smtp_transaction *t, const struct path *path, bool sender,
                                     struct str *address)
{
    char area[1024];
    struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!path_normalize(path, &normal)) {
        return path_fault(PATH_BAD_DOMAIN, sender);
    }
    *address = arena_copy(&t->arena, buf_str(&normal));
    return address->data == NULL ? no_memory : no_fault;
}

static struct server_fault read_mail(struct smtp_server *s, struct smtp_transaction *t, struct str argument)
{
    struct path path;
    enum path_error error = path_parse(argument, true, true, &path);
    if (error != PATH_OK) {
        return path_fault(error, true);
    }
    struct str rest = path.rest;
    struct str key;
    struct str value;
    unsigned seen = 0;
    while (next_parameter(&rest, &key, &value)) {
        if (!s->esmtp) {
            return (struct server_fault){555, "5.5.4", "Parameters need EHLO, not HELO"};
        }
        struct server_fault fault = set_mail_parameter(s, t, &seen, key, value);
        if (fault.code != 0) {
            return fault;
        }
    }
    /* SMTPUTF8 stands behind the path that needs it. */
    return path.is_utf8 && !t->smtputf8 ? path_fault(PATH_NEEDS_UTF8, true)
                                        : keep_path(t, &path, true, &t->sender);
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

static void refuse_without_login(struct smtp_server *s, struct buf *out)
{
    char text[SERVER_TEXT];
    struct buf b = {.data = text, .cap = sizeof(text), .limit = sizeof(text)};
    buf_append_str(&b, s->tls ? STR("Log in first: AUTH, then MAIL.")
                              : STR("Begin TLS and log in first: STARTTLS, EHLO, AUTH, then MAIL."));
    buf_printf(&b, " Mail between servers goes to port %u",
               s->settings->mx_port == 0 ? 25 : s->settings->mx_port);
    buf_append_char(&b, '\0');
    server_reply(s, out, 530, "5.7.0", text);
}

static bool mail_out_of_order(struct smtp_server *s, struct buf *out)
{
    if (s->transaction != NULL) {
        server_reply(s, out, 503, "5.5.1", "A transaction is under way; RSET ends it");
    } else if (s->settings->kind == SMTP_KIND_SUBMISSION && !s->authenticated && !s->settings->catch_all) {
        refuse_without_login(s, out);
    } else if (s->transactions >= s->settings->transactions) {
        server_close(s, out, 421, "4.7.0", "Too many messages in one session; connect again",
                     "too many transactions");
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
    struct server_fault fault = read_mail(s, t, str_trim(str_from(argument, 5)));
    if (fault.code != 0) {
        server_reply_fault(s, out, &fault);
        server_transaction_reset(s);
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
    if (answer == SMTP_SENDER_FAILED) {
        server_reply(s, out, 451, "4.3.0", "Sender addresses cannot be checked now; try again later");
    } else if (in_header) {
        server_reply(s, out, 550, "5.7.1",
                     "The From or Sender address of this message does not belong to your login");
    } else {
        server_reply(s, out, 550, "5.7.1",
                     "This sender address does not belong to your login; use one of your own addresses");
    }
    server_transaction_reset(s);
}

static struct server_fault set_notify(struct smtp_recipient *r, struct str value)
{
    static const struct {
        const char *word;
        uint8_t bit;
    } words[] = {{"NEVER", SMTP_NOTIFY_NEVER},
                 {"SUCCESS", SMTP_NOTIFY_SUCCESS},
                 {"FAILURE", SMTP_NOTIFY_FAILURE},
                 {"DELAY", SMTP_NOTIFY_DELAY}};
    struct str part;
    bool given = value.data != NULL;
    while (str_split(&value, ',', &part)) {
        uint8_t bit = 0;
        for (size_t i = 0; i < 4; i++) {
            bit = str_equal_nocase(part, str_of(words[i].word)) ? words[i].bit : bit;
        }
        given = bit != 0 && (r->notify & bit) == 0;
        if (!given) {
            break;
        }
        r->notify |= bit;
    }
    if (!given) {
        return bad_parameter("NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY");
    }
    if ((r->notify & SMTP_NOTIFY_NEVER) != 0 && r->notify != SMTP_NOTIFY_NEVER) {
        return bad_parameter("NOTIFY=NEVER stands alone");
    }
    return no_fault;
}

/* RFC 3461, section 4.2; its total length is limited to 500 there. */
static struct server_fault set_original(struct smtp_transaction *t, struct smtp_recipient *r,
                                        struct str value)
{
    size_t semicolon = str_find(value, 0, ';');
    struct str type = str_sub(value, 0, semicolon);
    struct str address = semicolon == SIZE_MAX ? STR_EMPTY : str_from(value, semicolon + 1);
    bool utf8 = t->smtputf8 && str_equal_nocase(type, STR("utf-8"));
    if (!is_xtext(type, 100) || !(is_xtext(address, 500) || (utf8 && is_utf8_text(address, 500)))) {
        return bad_parameter("ORCPT is a type, a semicolon and an address as xtext");
    }
    r->original = arena_copy(&t->arena, value);
    return r->original.data == NULL ? no_memory : no_fault;
}

static struct server_fault read_rcpt_parameters(struct smtp_server *s, struct smtp_transaction *t,
                                                struct smtp_recipient *r, struct str rest)
{
    struct str key;
    struct str value;
    bool notify_seen = false;
    bool original_seen = false;
    while (next_parameter(&rest, &key, &value)) {
        struct server_fault fault;
        if (s->esmtp && str_equal_nocase(key, STR("NOTIFY"))) {
            fault = notify_seen ? given_twice : set_notify(r, value);
            notify_seen = true;
        } else if (s->esmtp && str_equal_nocase(key, STR("ORCPT"))) {
            fault = original_seen ? given_twice : set_original(t, r, value);
            original_seen = true;
        } else {
            fault = (struct server_fault){
                555, "5.5.4", "A parameter of RCPT is not known; EHLO lists the extensions that are"};
        }
        if (fault.code != 0) {
            return fault;
        }
    }
    return no_fault;
}

static struct server_fault read_rcpt(struct smtp_server *s, struct smtp_transaction *t,
                                     struct smtp_recipient *r, struct str argument)
{
    struct path path;
    enum path_error error = path_parse(argument, false, t->smtputf8, &path);
    if (error != PATH_OK) {
        return path_fault(error, false);
    }
    r->original = STR_EMPTY;
    struct server_fault fault = read_rcpt_parameters(s, t, r, path.rest);
    return fault.code != 0 ? fault : keep_path(t, &path, false, &r->address);
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
        server_reply(s, out, 452, "4.5.3",
                     "Too many recipients in one transaction; send the rest in another");
        return SMTP_INPUT;
    }
    struct smtp_recipient *r = arena_new(&t->arena, struct smtp_recipient);
    struct server_fault fault = r == NULL ? no_memory : read_rcpt(s, t, r, str_trim(str_from(argument, 3)));
    if (fault.code != 0) {
        server_reply_fault(s, out, &fault);
        return SMTP_INPUT;
    }
    *t->last = r; /* linked for the answer; counted when it is accepted */
    s->question = r->address;
    s->waiting = SMTP_CHECK_RECIPIENT;
    return SMTP_CHECK_RECIPIENT;
}

static bool may_relay(const struct smtp_server *s)
{
    return s->settings->kind == SMTP_KIND_SUBMISSION && s->authenticated;
}

static void refuse_relay(struct smtp_server *s, struct str address, struct buf *out)
{
    char text[SERVER_TEXT];
    const struct str before =
        STR("Relay denied: this recipient is not here, and this port takes mail for local recipients "
            "only. To send elsewhere log in at ");
    server_reply_about(s, out, 550, "5.7.1", server_text_with_doors(s, before, text), address);
}

const struct server_fault *server_over_quota(bool refuse)
{
    static const struct server_fault refused = {
        552, "5.2.2", "The recipient's mailbox is full, or too full for this message"};
    static const struct server_fault deferred = {
        452, "4.2.2", "The recipient's mailbox is full, or too full for this message; try again later"};
    return refuse ? &refused : &deferred;
}

static void refuse_recipient(struct smtp_server *s, enum smtp_recipient_answer answer, struct str address,
                             struct buf *out)
{
    static const struct server_fault faults[] = {
        [SMTP_RECIPIENT_UNKNOWN] = {550, "5.1.1", "No such user here; check the spelling of the address"},
        [SMTP_RECIPIENT_DISABLED] = {550, "5.2.1", "The recipient's account is disabled"},
        [SMTP_RECIPIENT_FAILED] = {451, "4.3.0", "The recipient cannot be looked up now; try again later"}};
    if (answer == SMTP_RECIPIENT_REMOTE) {
        refuse_relay(s, address, out);
    } else {
        bool full = answer == SMTP_RECIPIENT_OVER_QUOTA || answer == SMTP_RECIPIENT_OVER_QUOTA_NOW;
        const struct server_fault *fault =
            full ? server_over_quota(answer == SMTP_RECIPIENT_OVER_QUOTA) : &faults[answer];
        server_reply_about(s, out, fault->code, fault->enhanced, fault->text, address);
    }
}

static void recipient_answered(struct smtp_server *s, enum smtp_recipient_answer answer, uint64_t room,
                               struct buf *out)
{
    struct smtp_transaction *t = s->transaction;
    if (s->waiting != SMTP_CHECK_RECIPIENT || t == NULL) {
        return;
    }
    s->waiting = SMTP_INPUT;
    struct smtp_recipient *r = *t->last;
    bool fine = answer == SMTP_RECIPIENT_LOCAL || answer == SMTP_RECIPIENT_RELAY_DOMAIN ||
                (answer == SMTP_RECIPIENT_REMOTE && may_relay(s));
    if (!fine) {
        *t->last = NULL;
        refuse_recipient(s, answer, r->address, out);
        return;
    }
    r->room = room;
    t->last = &r->next;
    t->recipient_count++;
    server_reply(s, out, 250, "2.1.5", "Recipient OK");
}

void smtp_server_recipient(struct smtp_server *s, enum smtp_recipient_answer answer, struct buf *out)
{
    recipient_answered(s, answer, UINT64_MAX, out);
}

void smtp_server_recipient_room(struct smtp_server *s, uint64_t room, struct buf *out)
{
    recipient_answered(s, SMTP_RECIPIENT_LOCAL, room, out);
}
