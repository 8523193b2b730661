/*
 * Whole IMAP sessions of any client, with an account in memory behind the engine. The input is an octet of settings and
 * then all that the client says. Oracles: the same conversation at every split, with a full-text index and without; nothing is
 * asked for before a right password; every reply ends in a line end; what waits for a slow client is bounded.
 */
#include "../../unit/imap/driver.h"

#include "base/mem.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WAITING_MAX = 4 << 20 };

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void run(struct driver *d, uint8_t flags, struct str said, size_t split, bool narrows)
{
    bool tls = (flags & 1) == 0;
    must(driver_init(d, tls));
    d->fail_answers = (flags & 4) != 0;
    d->busy = (flags & 16) != 0;
    d->settings.message_limit = (flags & 32) != 0 ? 2 : 0;
    d->narrows = narrows;
    driver_start(d);
    if ((flags & 2) == 0 && tls) {
        driver_say(d, STR("l LOGIN ann pw\r\n"), 0);
    }
    if ((flags & 8) != 0) {
        driver_say(d, STR("s SELECT INBOX\r\n"), 0);
    }
    /* What is thrown away at STARTTLS depends on what has come by then: there whole lines are said. */
    while (!tls && said.len > 0 && !d->closed) {
        size_t newline = str_find(said, 0, '\n');
        struct str line = newline == SIZE_MAX ? said : str_sub(said, 0, newline + 1);
        driver_say(d, line, 0);
        said = str_from(said, line.len);
    }
    driver_say(d, said, split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct driver whole;
    static struct driver parts;
    if (size < 2 || size > 20000) {
        return 0;
    }
    struct str said = str_make(data + 2, size - 2);
    int64_t live = mem_live();
    run(&whole, data[0], said, 0, false);
    run(&parts, data[0], said, 1 + data[1] % 13, true);
    must(str_equal(buf_str(&whole.said), buf_str(&parts.said)));
    must(whole.closed == parts.closed && whole.changes == parts.changes);
    must(whole.questions_before_login == 0);
    must(whole.said.len == 0 || whole.said.data[whole.said.len - 1] == '\n');
    must(whole.most <= WAITING_MAX);
    driver_free(&whole);
    driver_free(&parts);
    must(mem_live() == live);
    return 0;
}
