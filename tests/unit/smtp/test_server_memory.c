/*
 * The k-th allocation of a whole session fails, for every k until none does, once and from then on (goal G4): nothing aborts or
 * leaks, the client is told with a 4xx, and what is stored is what it would have been.
 */
#include "base/mem.h"
#include "talk.h"

struct script {
    const char *name;
    enum smtp_server_kind kind;
    bool tls;
    struct str input;
};

#define SCRIPT(text)                                                                                         \
    {                                                                                                        \
        .data = (text), .len = sizeof(text) - 1                                                              \
    }

static const struct script scripts[] = {
    {"mx", SMTP_KIND_MX, false,
     SCRIPT(
         "EHLO client.example\r\nMAIL FROM:<a@away.example> SIZE=30000 BODY=8BITMIME RET=HDRS ENVID=abc\r\n"
         "RCPT TO:<b@here.example> NOTIFY=SUCCESS ORCPT=rfc822;b@here.example\r\nRCPT "
         "TO:<unknown@here.example>\r\n"
         "RCPT TO:<c@here.example>\r\nDATA\r\nSubject: hello\r\nDelivered-To: "
         "x@y.example\r\n\r\nText\r\n..dot\r\n.\r\n"
         "MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nBDAT 5\r\nA: b\rBDAT 1 LAST\r\n\nRSET\r\nQUIT\r\n")},
    {"mx, international", SMTP_KIND_MX, true,
     SCRIPT("EHLO client.example\r\nMAIL FROM:<\xc3\xbc@b\xc3\xbc"
            "cher.example> SMTPUTF8\r\nRCPT TO:<\xc3\xbc@here.example>\r\n"
            "BDAT 0 LAST\r\nQUIT\r\n")},
    {"lmtp", SMTP_KIND_LMTP, false,
     SCRIPT("LHLO client.example\r\nMAIL FROM:<a@away.example>\r\nRCPT TO:<b@here.example>\r\nRCPT "
            "TO:<c@here.example>\r\n"
            "DATA\r\nA: b\r\n.\r\nQUIT\r\n")},
    {"submission", SMTP_KIND_SUBMISSION, false, SCRIPT("EHLO client.example\r\nSTARTTLS\r\n")},
    {"submission in TLS", SMTP_KIND_SUBMISSION, true,
     SCRIPT("EHLO client.example\r\nAUTH PLAIN\r\n*\r\nAUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\nMAIL "
            "FROM:<user@here.example>\r\n"
            "RCPT TO:<z@away.example>\r\nDATA\r\nFrom: Me <user@here.example>\r\nSender: "
            "alias@here.example\r\n\r\nx\r\n.\r\n"
            "QUIT\r\n")},
    {"submission, initial response", SMTP_KIND_SUBMISSION, true,
     SCRIPT("EHLO client.example\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\nMAIL FROM:<user@here.example>\r\n"
            "RCPT TO:<z@away.example>\r\nBDAT 27 LAST\r\nFrom: user@here.example\r\n\r\nQUIT\r\n")},
};

/* The driver's own buffers have their room before allocations fail. */
static void open_with_room(struct driver *d, const struct script *s)
{
    driver_open(d, s->kind, s->tls);
    assert_non_null(buf_reserve(&d->out, 1 << 16));
    assert_non_null(buf_reserve(&d->trace, 1 << 16));
    assert_non_null(buf_reserve(&d->event_text, 2048));
}

static bool has_temporary_failure(struct str replies)
{
    struct str line;
    while (str_split(&replies, '\n', &line)) {
        if (line.len > 4 && line.data[0] == '4' && line.data[3] == ' ') {
            return true;
        }
    }
    return false;
}

/* Every COMMIT of `trace` stands in `normal` too. */
static bool commits_are_among(struct str trace, struct str normal)
{
    size_t at;
    while ((at = str_find_str(trace, STR("COMMIT"))) != SIZE_MAX) {
        trace = str_from(trace, at);
        size_t end = str_find_str(trace, STR("\nEND\n")) + 5;
        if (str_find_str(normal, str_sub(trace, 0, end)) == SIZE_MAX) {
            return false;
        }
        trace = str_from(trace, end);
    }
    return true;
}

static uint64_t run_failing(const struct script *s, size_t step, uint64_t k, bool once,
                            const struct driver *normal)
{
    int64_t live = mem_live();
    struct driver d;
    open_with_room(&d, s);
    mem_fail_at(k, once);
    driver_feed_by(&d, s->input, step);
    uint64_t count = mem_count();
    mem_fail_at(0, 0);
    bool same = str_equal(buf_str(&d.out), buf_str(&normal->out));
    if (!same && !has_temporary_failure(buf_str(&d.out))) {
        print_error("%s, allocation %llu: %.*s\n", s->name, (unsigned long long)k, STR_ARGS(buf_str(&d.out)));
    }
    assert_true(same || has_temporary_failure(buf_str(&d.out)));
    /* With fewer recipients an envelope may be stored that is not the normal one; the client has been told of each. */
    assert_true(commits_are_among(buf_str(&d.trace), buf_str(&normal->trace)) ||
                has_temporary_failure(buf_str(&d.out)));
    assert_true(d.budget.used == 0 || d.server.transaction != NULL);
    driver_close(&d);
    assert_int_equal(0, d.budget.used);
    assert_int_equal(live, mem_live());
    return count;
}

static void sweep(const struct script *s, size_t step)
{
    struct driver normal;
    open_with_room(&normal, s);
    driver_feed_by(&normal, s->input, step);
    for (int once = 0; once < 2; once++) {
        uint64_t k = 1;
        while (run_failing(s, step, k, once == 1, &normal) >= k) {
            k++;
            assert_true(k < 1000);
        }
        assert_true(k > 1);
    }
    driver_close(&normal);
}

static void test_every_allocation_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        sweep(&scripts[i], 0);
        sweep(&scripts[i], 1);
        sweep(&scripts[i], 7);
    }
}

/* Without room for a reply the buffer says so, and the role closes the connection. */
static void test_output_fails(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 500; limit += 9) {
        int64_t live = mem_live();
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        buf_free(&d.out);
        d.out = buf_make(limit);
        driver_feed(&d, scripts[0].input);
        assert_false(buf_ok(&d.out));
        driver_close(&d);
        assert_int_equal(live, mem_live());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails),
        cmocka_unit_test(test_output_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
