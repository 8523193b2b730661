/*
 * The SMTP server engine against any client. The input is a byte of settings, a byte that places a split, and then all that the
 * client says. Oracles: replies and effects are the same at every split; recipients are those asked about since the last
 * reset; on submission nothing happens before a login, on other ports nobody logs in and nothing is relayed; a message behind
 * DATA ends in CRLF.CRLF and nowhere else; what is stored has no bare line ends; replies have their form.
 */
#include "../../unit/smtp/driver.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void open_session(struct driver *d, uint8_t flags, bool starttls)
{
    static const enum smtp_server_kind kinds[4] = {SMTP_KIND_MX, SMTP_KIND_SUBMISSION, SMTP_KIND_LMTP,
                                                   SMTP_KIND_SUBMISSION};
    driver_defaults(d, kinds[flags & 3]);
    /* Input behind STARTTLS is thrown away as it comes, so there the replies depend on the split. */
    d->settings.tls_offered = starttls;
    d->settings.catch_all = (flags & 4) != 0;
    d->settings.repair_newlines = (flags & 8) != 0;
    d->settings.foreign_senders = (flags & 16) != 0;
    d->settings.message_size = (flags & 32) != 0 ? 64 : 100000;
    d->commit_answer = (flags & 64) != 0 ? SMTP_COMMIT_NO_SPACE : SMTP_COMMITTED;
    driver_begin(d, (flags & 128) != 0);
}

static void check_reply_line(struct str line)
{
    must(line.len >= 5 && line.len <= 512 && str_ends(line, STR("\r\n")));
    must(ascii_is_digit(line.data[0]) && ascii_is_digit(line.data[1]) && ascii_is_digit(line.data[2]));
    must(line.data[3] == ' ' || line.data[3] == '-');
    for (size_t i = 0; i + 2 < line.len; i++) {
        must(line.data[i] >= ' ' && line.data[i] < 0x7f);
    }
}

static void check_replies(struct str out)
{
    while (out.len > 0) {
        size_t newline = str_find(out, 0, '\n');
        must(newline != SIZE_MAX);
        check_reply_line(str_sub(out, 0, newline + 1));
        out = str_from(out, newline + 1);
    }
}

static bool was_asked(struct str effects, struct str address)
{
    struct str line;
    while (str_split(&effects, '\n', &line)) {
        if (str_starts(line, STR("RCPT ")) && str_equal(str_from(line, 5), address)) {
            return true;
        }
    }
    return false;
}

static bool is_ours(struct str address)
{
    return str_ends(address, STR("@here.example")) || str_ends(address, STR("@relay.example")) ||
           str_equal_nocase(address, STR("postmaster"));
}

/* A message is about to be stored: `input` has come so far, `effects` since the transaction began. */
static void check_commit(const struct driver *d, struct str input, struct str effects)
{
    const struct smtp_transaction *t = d->server.transaction;
    unsigned count = 0;
    must(t != NULL && t->recipient_count > 0);
    for (const struct smtp_recipient *r = t->recipients; r != NULL; r = r->next) {
        count++;
        must(was_asked(effects, r->address));
        must(d->server.authenticated || is_ours(r->address));
    }
    must(count == t->recipient_count && count <= d->settings.recipients);
    must(t->body.len <= d->settings.message_size);
    must(t->bdat || str_ends(input, STR("\r\n.\r\n")));
    must(t->body_kind == SMTP_BODY_BINARYMIME || data_check(buf_str(&t->body)) == DATA_GOOD);
}

static void check_state(const struct driver *d)
{
    const struct smtp_server *s = &d->server;
    must(!s->authenticated || (s->tls && d->settings.kind == SMTP_KIND_SUBMISSION));
    if (d->settings.kind == SMTP_KIND_SUBMISSION && !s->authenticated && !d->settings.catch_all) {
        must(s->transaction == NULL);
    }
    must(s->transaction != NULL || d->budget.used == 0);
}

/* An octet at a time, looking at the state between two. */
static void run_slowly(struct driver *d, struct str input)
{
    size_t begun = 0; /* of the trace: where the transaction began */
    d->hold_commit = true;
    for (size_t i = 0; i < input.len && !d->closed; i++) {
        unsigned commits = d->commits;
        size_t said = d->out.len;
        driver_feed(d, str_sub(input, i, i + 1));
        if (d->commits > commits) {
            must(d->commits == commits + 1);
            check_commit(d, str_sub(input, 0, i + 1), str_from(buf_str(&d->trace), begun));
            driver_answer_commit(d, d->commit_answer);
            must(d->server.transaction == NULL);
        }
        struct str reply = str_from(buf_str(&d->out), said);
        if (str_starts(reply, STR("250 2.0.0 Reset")) || str_starts(reply, STR("250-mx.")) ||
            str_starts(reply, STR("250 mx.")) || str_starts(reply, STR("220 2.0.0 Begin"))) {
            must(d->server.transaction == NULL);
        }
        check_state(d);
        begun = d->server.transaction == NULL ? d->trace.len : begun;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 20000) {
        return 0;
    }
    struct str input = str_make(data + 2, size - 2);
    struct driver slow;
    struct driver whole;
    struct driver parts;
    open_session(&slow, data[0], true);
    run_slowly(&slow, input);
    check_replies(buf_str(&slow.out));
    driver_close(&slow);

    open_session(&slow, data[0], false);
    run_slowly(&slow, input);
    open_session(&whole, data[0], false);
    driver_feed(&whole, input);
    open_session(&parts, data[0], false);
    driver_feed_at(&parts, input, size * data[1] / 256);
    must(str_equal(buf_str(&whole.out), buf_str(&slow.out)) &&
         str_equal(buf_str(&whole.out), buf_str(&parts.out)));
    must(str_equal(buf_str(&whole.trace), buf_str(&slow.trace)) &&
         str_equal(buf_str(&whole.trace), buf_str(&parts.trace)));
    must(whole.closed == slow.closed && whole.closed == parts.closed);
    driver_close(&slow);
    driver_close(&whole);
    driver_close(&parts);
    must(slow.budget.used == 0 && whole.budget.used == 0 && parts.budget.used == 0);
    return 0;
}
