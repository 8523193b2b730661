/*
 * No second message gets in or out (goal G15): all 15,625 strings of six characters out of CR, LF, dot, x and NUL stand in
 * front of what would be a transaction of its own if the data ended there. The engine is compared with a strict reading that
 * shares no code with it, at every split around the string; then the client engine sends such messages, and what it sends is
 * read by both.
 */
#include "smtp/client.h"
#include "smtp/data.h"
#include "strict.h"
#include "talk.h"

#define ENVELOPE "MAIL FROM:<a@away.example>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n"
#define EVIL     "MAIL FROM:<evil@away.example>\r\nRCPT TO:<b@here.example>\r\nDATA\r\nEvil: yes\r\n\r\n"
#define END      "\r\n.\r\n"

enum { LENGTH = 6, STRINGS = 15625 };

static void make_string(unsigned number, char text[LENGTH])
{
    static const char alphabet[5] = {'\r', '\n', '.', 'x', '\0'};
    for (int i = 0; i < LENGTH; i++) {
        text[i] = alphabet[number % 5];
        number /= 5;
    }
}

/* The bodies in a driver's trace, in the form of strict.h. */
static void bodies_of(const struct driver *d, struct buf *bodies)
{
    struct str rest = buf_str(&d->trace);
    while (rest.len > 0) {
        size_t line = str_find(rest, 0, '\n') + 1;
        bool commit = str_starts(rest, STR("COMMIT "));
        rest = str_from(rest, line);
        if (commit) {
            size_t end = str_find_str(rest, STR("\nEND\n")) + 5;
            buf_append_str(bodies, str_sub(rest, 0, end));
            rest = str_from(rest, end);
        }
    }
}

static void show(struct str input)
{
    char area[2048];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_escaped(&text, input, 1000);
    print_error("input: %.*s\n", STR_ARGS(buf_str(&text)));
}

static void must(bool condition, struct str input, const char *what)
{
    if (!condition) {
        print_error("%s\n", what);
        show(input);
    }
    assert_true(condition);
}

static void open_session(struct driver *d, enum smtp_server_kind kind, bool repair)
{
    driver_defaults(d, kind);
    d->settings.repair_newlines = repair;
    d->settings.catch_all = true;
    driver_begin(d, false);
    greet(d);
}

/* The engine at every split from `from` to `to` against the strict reading. */
static void compare(struct str input, size_t from, size_t to)
{
    struct strict strict;
    strict_read(&strict, input);
    for (size_t split = from; split <= to; split++) {
        struct driver d;
        char area[2048];
        struct buf bodies = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        open_session(&d, SMTP_KIND_MX, false);
        driver_feed_at(&d, input, split);
        bodies_of(&d, &bodies);
        must(d.commits == strict.messages, input, "another number of messages than a strict reader sees");
        must(str_equal(buf_str(&bodies), buf_str(&strict.bodies)), input,
             "another message than a strict reader sees");
        must(d.closed == strict.closed, input, "closed, or not closed, unlike a strict reader");
        driver_close(&d);
    }
    strict_free(&strict);
}

static void run_all(const char *before, const char *after)
{
    for (unsigned i = 0; i < STRINGS; i++) {
        char area[512];
        char text[LENGTH];
        struct buf input = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        make_string(i, text);
        buf_append_str(&input, str_of(before));
        buf_append(&input, text, LENGTH);
        buf_append_str(&input, str_of(after));
        assert_true(buf_ok(&input));
        size_t at = strlen(before);
        compare(buf_str(&input), at, at + LENGTH + 1);
    }
}

static void test_in_the_middle_of_a_line(void **state)
{
    (void)state;
    run_all(ENVELOPE "A: b\r\n\r\nx", EVIL END);
}

static void test_at_the_start_of_a_line(void **state)
{
    (void)state;
    run_all(ENVELOPE "A: b\r\n\r\n", EVIL END);
}

static void test_in_commands(void **state)
{
    (void)state;
    run_all("NOOP ", EVIL END);
}

/* With bare line ends repaired still only CRLF.CRLF ends the data, and what is kept has no bare ones. */
static void test_repaired(void **state)
{
    (void)state;
    unsigned kept = 0;
    for (unsigned i = 0; i < STRINGS; i++) {
        char area[512];
        char text[LENGTH];
        struct buf input = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        make_string(i, text);
        buf_append_lit(&input, ENVELOPE "A: b\r\n\r\nx");
        size_t at = input.len;
        buf_append(&input, text, LENGTH);
        buf_append_lit(&input, EVIL END);
        bool ends = str_find_str(str_make(text, LENGTH), STR(END)) != SIZE_MAX;
        bool nul = memchr(text, '\0', LENGTH) != NULL;
        struct buf first = buf_make(4096);
        for (size_t split = at; split <= at + LENGTH + 1; split++) {
            struct driver d;
            open_session(&d, SMTP_KIND_SUBMISSION, true);
            driver_feed_at(&d, buf_str(&input), split);
            must(ends || d.commits == !nul, buf_str(&input), "not one message");
            must(ends || str_find_str(buf_str(&d.trace), STR("COMMIT from=<evil")) == SIZE_MAX,
                 buf_str(&input), "smuggled");
            must(split == at || str_equal(buf_str(&first), buf_str(&d.trace)), buf_str(&input),
                 "splits differ");
            kept += d.commits;
            if (split == at) {
                buf_append_str(&first, buf_str(&d.trace));
                struct str rest = buf_str(&d.trace);
                size_t begin = str_find_str(rest, STR("octets\n"));
                struct str body = begin == SIZE_MAX ? STR_EMPTY : str_from(rest, begin + 7);
                body = str_sub(body, 0, str_find_str(body, STR("\nEND\n")));
                must(data_check(body) == DATA_GOOD, buf_str(&input), "a bare line end was kept");
            }
            driver_close(&d);
        }
        buf_free(&first);
    }
    assert_true(kept > 0);
}

static void read_data(struct str input, size_t step, bool repair, struct data_reader *reader,
                      struct buf *body)
{
    *reader = (struct data_reader){.repair = repair};
    buf_clear(body);
    while (input.len > 0 && !reader->over) {
        struct str part = str_sub(input, 0, step);
        size_t given = part.len;
        data_read(reader, &part, body);
        input = str_from(input, given - part.len);
    }
}

/*
 * Much at once is looked at in blocks of 64 octets, octets that come one by one are not: both must say the same of each string at
 * each place in a block, and a chunk's check must see what a reading without dots sees.
 */
static void test_at_each_place_in_a_block(void **state)
{
    (void)state;
    struct buf whole = buf_make(4096);
    struct buf single = buf_make(4096);
    for (unsigned i = 0; i < STRINGS * 2; i++) {
        char text[LENGTH];
        make_string(i % STRINGS, text);
        for (size_t before = 64 - LENGTH - 3; before <= 64 + 3; before++) {
            char area[256];
            struct buf input = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
            while (input.len < before) {
                buf_append_lit(&input, "-");
            }
            buf_append(&input, text, LENGTH);
            buf_append_lit(&input,
                           "0123456789 tab\t0123456789012345678901234567890123456789012345678901234567"
                           "01234567890123456789012345678901234567890\r\n.\r\n");
            struct data_reader a;
            struct data_reader b;
            read_data(buf_str(&input), SIZE_MAX / 2, i >= STRINGS, &a, &whole);
            read_data(buf_str(&input), 1, i >= STRINGS, &b, &single);
            must(a.over && b.over && a.octets == b.octets && a.fault == b.fault, buf_str(&input),
                 "the end or the fault differs");
            must(a.fault != DATA_GOOD || str_equal(buf_str(&whole), buf_str(&single)), buf_str(&input),
                 "the text differs");
            bool dots = memchr(text, '.', LENGTH) != NULL;
            must(dots || i >= STRINGS || data_check(buf_str(&input)) == a.fault, buf_str(&input),
                 "a chunk's check differs");
        }
    }
    buf_free(&whole);
    buf_free(&single);
}

/* In a chunk nothing ends anything but its length; without BINARYMIME bare line ends and NUL are refused all the same. */
static void test_chunks(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STRINGS * 2; i++) {
        bool binary = i >= STRINGS;
        char area[512];
        char text[LENGTH];
        struct buf input = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        make_string(i % STRINGS, text);
        buf_printf(&input, "MAIL FROM:<a@away.example>%s\r\nRCPT TO:<b@here.example>\r\nBDAT %zu LAST\r\n",
                   binary ? " BODY=BINARYMIME" : "", strlen("A: b\r\n\r\n" EVIL END) + LENGTH);
        buf_append_lit(&input, "A: b\r\n\r\n");
        buf_append(&input, text, LENGTH);
        buf_append_lit(&input, EVIL END "NOOP\r\n");
        struct driver d;
        struct str string = str_make(text, LENGTH);
        open_session(&d, SMTP_KIND_MX, false);
        driver_feed(&d, buf_str(&input));
        must(d.commits == (binary || data_check(string) == DATA_GOOD), buf_str(&input),
             "accepted or refused wrongly");
        must(str_ends(buf_str(&d.out), STR("250 2.0.0 OK\r\n")), buf_str(&input), "out of step");
        must(str_find_str(buf_str(&d.trace), STR("COMMIT from=<evil")) == SIZE_MAX, buf_str(&input),
             "smuggled");
        driver_close(&d);
    }
}

/* Out. */

static void report(void *context, size_t recipient, const struct smtp_client_result *result)
{
    (void)context;
    (void)recipient;
    (void)result;
}

static struct str next_reply(unsigned step)
{
    static const char *const replies[] = {"220 peer.example\r\n", "250 peer.example\r\n", "250 ok\r\n",
                                          "250 ok\r\n", "354 go on\r\n"};
    return step < 5 ? str_of(replies[step]) : STR_EMPTY;
}

/* All that the client engine sends for this body up to the wait for the final reply; false if it gives up. */
static bool client_sends(struct str body, size_t split, struct buf *sent)
{
    static struct smtp_client client;
    struct smtp_client_settings settings = {.hello_name = STR("c"), .timeout_percent = 100};
    struct smtp_client_message message = {.sender = STR("a@away.example"), .size = body.len};
    struct smtp_client_recipient recipient = {.address = STR("b@here.example")};
    struct str input = STR_EMPTY;
    unsigned step = 0;
    smtp_client_start(&client, &settings, report, NULL);
    for (;;) {
        switch (smtp_client_run(&client, &input, sent)) {
        case SMTP_CLIENT_INPUT:
            input = next_reply(step++);
            if (input.len == 0) {
                return true;
            }
            break;
        case SMTP_CLIENT_READY: smtp_client_begin(&client, &message, &recipient, 1); break;
        case SMTP_CLIENT_BODY:
            smtp_client_body(&client, str_sub(body, 0, split), false, sent);
            smtp_client_body(&client, str_from(body, split), true, sent);
            break;
        default: return false;
        }
    }
}

static void check_sent(struct str body, size_t split)
{
    char area[1024];
    struct buf sent = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    bool whole = client_sends(body, split, &sent);
    bool good = data_check(body) == DATA_GOOD;
    struct strict strict;
    must(buf_ok(&sent) && whole == good, body, "sent, or not sent, wrongly");
    strict_read(&strict, buf_str(&sent));
    must(strict.messages == good && strict.refused == 0 && !strict.closed, body,
         "a strict reader sees no single message");
    if (good) {
        struct driver d;
        struct str got = str_sub(buf_str(&strict.bodies), 0, body.len);
        must(str_equal(got, body), body, "another message came out");
        driver_open(&d, SMTP_KIND_MX, false);
        driver_feed(&d, buf_str(&sent));
        must(d.commits == 1 && !d.closed, body, "the server engine sees no single message");
        driver_close(&d);
    } else {
        must(strict.in_data || strict.messages == 0, body, "data was ended that was to be given up");
    }
    for (size_t i = 0; i < sent.len; i++) {
        must(area[i] != '\0' && (area[i] != '\n' || area[i - 1] == '\r') &&
                 (area[i] != '\r' || (i + 1 < sent.len && area[i + 1] == '\n')),
             body, "a bare line end or NUL left");
    }
    strict_free(&strict);
}

static void test_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STRINGS; i++) {
        char area[512];
        char text[LENGTH];
        make_string(i, text);
        for (int place = 0; place < 3;
             place++) { /* in a line, at the start of one, at the end of the message */
            struct buf body = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
            buf_append_str(&body, place == 0 ? STR("A: b\r\n\r\nx") : STR("A: b\r\n\r\n"));
            size_t at = body.len;
            buf_append(&body, text, LENGTH);
            buf_append_str(&body, place == 2 ? STR_EMPTY : STR(EVIL));
            for (size_t split = at; split <= at + LENGTH; split++) {
                check_sent(buf_str(&body), split);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_the_middle_of_a_line),
        cmocka_unit_test(test_at_the_start_of_a_line),
        cmocka_unit_test(test_in_commands),
        cmocka_unit_test(test_repaired),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_at_each_place_in_a_block),
        cmocka_unit_test(test_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
