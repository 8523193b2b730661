/*
 * Whole POP3 sessions of any client. The input is an octet of settings and then all that the client says. Oracles: the same
 * conversation at every split; no mailbox is opened without a right password, nothing is removed without QUIT, no password is
 * taken in clear; every reply is a whole line that begins as RFC 1939 has it; what waits for a slow client is bounded.
 */
#include "driver.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void run(struct driver *d, uint8_t flags, struct str said, size_t split)
{
    bool tls = (flags & 1) != 0;
    driver_init(d, tls, !tls && (flags & 2) != 0);
    driver_add(d, STR("Subject: a\r\n\r\n.dot\r\n..two\r\n\r\nlast\r\n"));
    driver_add(d, STR("Subject: b\r\n\r\nno end"));
    driver_add(d, STR("."));
    d->auth =
        (enum pop3_auth_answer)((flags >> 2 & 7) > POP3_AUTH_DISABLED ? POP3_AUTH_GOOD : flags >> 2 & 7);
    d->open = (flags & 32) != 0 ? POP3_IN_USE : POP3_OPENED;
    d->expunge_fails = (flags & 64) != 0;
    d->read_limit = (flags & 128) != 0 ? split % 7 + 1 : 0;
    driver_start(d, STR_EMPTY);
    bool started = false;
    while (said.len > 0 && !d->closed) {
        /* What is thrown away at STLS depends on what has come by then; here it is up to the end of its line. */
        size_t newline = str_find(said, 0, '\n');
        struct str line = newline == SIZE_MAX ? said : str_sub(said, 0, newline + 1);
        line = started || tls ? said : line;
        driver_say(d, line, split);
        started = started || d->tls_started > 0;
        said = str_from(said, line.len);
    }
}

static void check(const struct driver *d, struct str said)
{
    bool clear = !d->settings.implicit_tls && d->tls_started == 0;
    must(d->opened <= d->verified);
    must(!clear || d->verified == 0);
    must(d->auth == POP3_AUTH_GOOD || d->opened == 0);
    must(d->expunged <= d->opened);
    for (size_t i = 0; i < 3; i++) {
        must(d->messages[i].len > 0 || d->expunged > 0);
    }
    bool quit = false;
    for (size_t i = 0; i + 4 <= said.len; i++) {
        quit = quit || str_equal_nocase(str_sub(said, i, i + 4), STR("QUIT"));
    }
    must(quit || d->expunged == 0);
    must(d->most <= 2 * POP3_CHUNK + 512);
    struct str out = buf_str(&d->said);
    must(str_ends(out, STR("\r\n")));
    must(str_starts(out, STR("+OK ")) || str_starts(out, STR("-ERR ")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 20000) {
        return 0;
    }
    static const size_t splits[] = {0, 1, 5};
    static struct driver sessions[3];
    struct str said = str_make(data + 1, size - 1);
    for (size_t i = 0; i < 3; i++) {
        run(&sessions[i], data[0], said, splits[i]);
        check(&sessions[i], said);
        must(str_equal(buf_str(&sessions[i].said), buf_str(&sessions[0].said)));
        must(sessions[i].closed == sessions[0].closed);
        must(sessions[i].expunged == sessions[0].expunged);
    }
    for (size_t i = 0; i < 3; i++) {
        driver_free(&sessions[i]);
    }
    return 0;
}
